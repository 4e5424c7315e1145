<?php

namespace App\Providers;

use App\Support\Attempts;
use Illuminate\Database\Events\MigrationEnded;
use Illuminate\Database\Events\MigrationStarted;
use Illuminate\Foundation\Support\Providers\RouteServiceProvider as Base;
use Illuminate\Support\Facades\Event;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\Facades\URL;

final class AppServiceProvider extends Base
{
    public function boot(): void
    {
        URL::forceRootUrl(config('app.url'));
        URL::forceScheme(parse_url(config('app.url'), PHP_URL_SCHEME));
        Event::listen(MigrationStarted::class, [Attempts::class, 'started']);
        Event::listen(MigrationEnded::class, [Attempts::class, 'ended']);
        $this->routes(function (): void {
            Route::group([], base_path('routes/status.php'));
            Route::middleware('api')->prefix('api')->group(base_path('routes/api.php'));
            Route::middleware('web')->group(base_path('routes/web.php'));
        });
    }
}
