<!doctype html>
<html lang="fr">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="version" content="{{ config('app.version') }}">
  <title>Check du Matin</title>
  @vite(['resources/css/app.css', 'resources/js/app.js'])
</head>
<body>
  <h1>Check du Matin</h1>
  @yield('content')
</body>
</html>
