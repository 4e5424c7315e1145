Check du Matin {{ config('app.version') }}

@foreach ($checks as $check)
{{ $check->created_at }} {{ $check->client }}: {{ $check->outcome ?? 'open' }}
@endforeach
