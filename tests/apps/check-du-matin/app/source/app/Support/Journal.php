<?php

namespace App\Support;

use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Log;

/** What shows from outside that the scheduler lives: a line in the log and a row. */
final class Journal
{
    public static function heartbeat(): void
    {
        DB::table('heartbeats')->upsert(['name' => 'scheduler', 'beat_at' => now()], ['name'], ['beat_at']);
        Log::info('schedule heartbeat');
    }

    public static function lastHeartbeat(): ?string
    {
        $at = DB::table('heartbeats')->where('name', 'scheduler')->value('beat_at');

        return $at === null ? null : str_replace(' ', 'T', $at).'Z';
    }
}
