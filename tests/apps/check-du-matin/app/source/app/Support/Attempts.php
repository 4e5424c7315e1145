<?php

namespace App\Support;

use Illuminate\Database\Events\MigrationEnded;
use Illuminate\Database\Events\MigrationStarted;
use Illuminate\Database\Migrations\Migration;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Schema;
use ReflectionClass;

/** Laravel knows which migrations ran, not which were begun and never ended. A row stands here for each of those. */
final class Attempts
{
    private const TABLE = 'migration_attempts';

    public static function started(MigrationStarted $event): void
    {
        if (Schema::hasTable(self::TABLE)) {
            DB::table(self::TABLE)->upsert(['name' => self::name($event->migration), 'started_at' => now()], ['name']);
        }
    }

    public static function ended(MigrationEnded $event): void
    {
        if (Schema::hasTable(self::TABLE)) {
            DB::table(self::TABLE)->where('name', self::name($event->migration))->delete();
        }
    }

    /** @return list<string> */
    public static function failed(): array
    {
        return Schema::hasTable(self::TABLE) ? DB::table(self::TABLE)->orderBy('name')->pluck('name')->all() : [];
    }

    public static function forget(string $name): bool
    {
        return DB::table(self::TABLE)->where('name', $name)->delete() > 0;
    }

    private static function name(Migration $migration): string
    {
        return basename((new ReflectionClass($migration))->getFileName(), '.php');
    }
}
