<?php

use App\Logging\JsonLines;
use Monolog\Handler\StreamHandler;

return [
    'default' => 'stack',
    'deprecations' => ['channel' => null, 'trace' => false],
    'channels' => [
        'stack' => ['driver' => 'stack', 'channels' => ['file', 'container'], 'ignore_exceptions' => true],
        'file' => ['driver' => 'single', 'path' => storage_path('logs/laravel.log'), 'tap' => [JsonLines::class]],
        'container' => [
            'driver' => 'monolog',
            'handler' => StreamHandler::class,
            // Apart from what a command says; PHP-FPM passes it on from its children.
            'handler_with' => ['stream' => 'php://stderr'],
            'tap' => [JsonLines::class],
        ],
    ],
];
