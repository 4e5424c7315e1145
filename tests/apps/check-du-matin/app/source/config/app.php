<?php

use App\Providers\AppServiceProvider;
use Illuminate\Support\Facades\Facade;
use Illuminate\Support\ServiceProvider;

return [
    'name' => 'Check du Matin',
    'version' => env('APP_VERSION', '0.0.0-dev'),
    'fault' => env('APP_FAULT', ''),
    'env' => env('APP_ENV', 'production'),
    'debug' => env('APP_DEBUG', false),
    'url' => env('APP_URL'),
    'timezone' => 'UTC',
    'locale' => 'fr',
    'fallback_locale' => 'en',
    'key' => env('APP_KEY'),
    'cipher' => 'AES-256-CBC',
    'maintenance' => ['driver' => 'file'],
    'providers' => ServiceProvider::defaultProviders()->merge([AppServiceProvider::class])->toArray(),
    'aliases' => Facade::defaultAliases()->toArray(),
];
