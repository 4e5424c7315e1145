<?php

return [
    // In the database, so that two releases beside each other know the same sessions.
    'driver' => 'database',
    'connection' => null,
    'table' => 'sessions',
    'store' => null,
    'lifetime' => 120,
    'expire_on_close' => false,
    'encrypt' => false,
    'lottery' => [2, 100],
    'cookie' => 'check_du_matin_session',
    'path' => '/',
    'domain' => null,
    'secure' => str_starts_with((string) env('APP_URL'), 'https:'),
    'http_only' => true,
    'same_site' => 'lax',
    'partitioned' => false,
];
