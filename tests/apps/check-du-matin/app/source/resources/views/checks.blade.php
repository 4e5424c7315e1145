@extends('layout')

@section('content')
  <p id="user">{{ auth()->user()->email }}</p>
  <table>
    <tr><th>Client</th><th>Résultat</th><th>Créé</th></tr>
    @foreach ($checks as $check)
      <tr><td>{{ $check->client }}</td><td>{{ $check->outcome ?? 'open' }}</td><td>{{ $check->created_at }}</td></tr>
    @endforeach
  </table>
  <form method="post" action="/logout">
    @csrf
    <button>Déconnexion</button>
  </form>
@endsection
