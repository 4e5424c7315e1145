<?php

return [
    'default' => env('MAIL_MAILER', 'smtp'),
    'mailers' => [
        'smtp' => [
            'transport' => 'smtp',
            'host' => env('MAIL_HOST'),
            'port' => env('MAIL_PORT', 25),
            'username' => env('MAIL_USERNAME'),
            'password' => env('MAIL_PASSWORD'),
            'timeout' => 5,
            'local_domain' => parse_url((string) env('APP_URL'), PHP_URL_HOST) ?: null,
        ],
        'log' => ['transport' => 'log'],
    ],
    'from' => ['address' => env('MAIL_FROM_ADDRESS', 'check-du-matin@c2s.fr'), 'name' => 'Check du Matin'],
    'markdown' => ['theme' => 'default', 'paths' => []],
];
