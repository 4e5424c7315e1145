@extends('layout')

@section('content')
  <p><a href="/login">Connexion</a></p>
@endsection
