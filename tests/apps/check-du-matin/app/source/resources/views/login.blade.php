@extends('layout')

@section('content')
  <form method="post" action="/login">
    @csrf
    @error('email')
      <p class="error">{{ $message }}</p>
    @enderror
    <label>Adresse <input type="email" name="email" value="{{ old('email') }}" autocomplete="username" required></label>
    <label>Mot de passe <input type="password" name="password" autocomplete="current-password" required></label>
    <button>Connexion</button>
  </form>
@endsection
