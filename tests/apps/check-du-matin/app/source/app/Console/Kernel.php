<?php

namespace App\Console;

use App\Bootstrap\CheckEnvironment;
use App\Console\Commands;
use App\Support\Journal;
use Illuminate\Console\Scheduling\Schedule;
use Illuminate\Foundation\Bootstrap;
use Illuminate\Foundation\Console\Kernel as Base;

final class Kernel extends Base
{
    protected $bootstrappers = [
        Bootstrap\LoadEnvironmentVariables::class,
        Bootstrap\LoadConfiguration::class,
        CheckEnvironment::class,
        Bootstrap\HandleExceptions::class,
        Bootstrap\RegisterFacades::class,
        Bootstrap\SetRequestForConsole::class,
        Bootstrap\RegisterProviders::class,
        Bootstrap\BootProviders::class,
    ];

    protected $commands = [
        Commands\Run::class,
        Commands\CreateChecks::class,
        Commands\DeleteOldChecks::class,
        Commands\MigrationsState::class,
        Commands\SendReport::class,
    ];

    protected function schedule(Schedule $schedule): void
    {
        // Two releases may be up at once for a moment: onOneServer lets one of them do the work of a minute.
        $schedule->call(fn () => Journal::heartbeat())->name('heartbeat')->everyMinute();
        $schedule->command('checks:create --quiet')->everyFiveMinutes()->withoutOverlapping(10);
        $schedule->command('checks:delete-old --quiet')->dailyAt('02:00');
        $schedule->command('checks:report --quiet')->dailyAt('07:00');
        foreach ($schedule->events() as $event) {
            if ($event->command !== null) {
                $event->onOneServer()->appendOutputTo(getenv('APP_OUTPUT') ?: '/dev/null');
            }
        }
    }

    protected function scheduleTimezone(): string
    {
        return config('checks.timezone');
    }
}
