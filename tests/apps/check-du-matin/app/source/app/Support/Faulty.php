<?php

namespace App\Support;

/** Releases that are bad on purpose. */
final class Faulty
{
    public static function neverHealthy(): bool
    {
        return config('app.fault') === 'never-healthy';
    }

    public static function crashesLater(): bool
    {
        return config('app.fault') === 'crash-later';
    }
}
