<?php

namespace App\Models;

use App\Jobs\RunCheck;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Support\Facades\DB;

/** The ledger: what was asked for, how often it was started, and how often it ran to its end. */
final class Execution extends Model
{
    public $incrementing = false;

    public $timestamps = false;

    protected $keyType = 'string';

    protected $guarded = [];

    protected $visible = ['id', 'status', 'starts', 'completions'];

    /**
     * Write it down and queue its job, both or neither: one transaction, because the queue is in the same database.
     * Returns whether it is new.
     */
    public static function submit(string $id, int $milliseconds, ?int $check = null): bool
    {
        return DB::transaction(function () use ($id, $milliseconds, $check): bool {
            $new = self::query()->insertOrIgnore([
                'id' => $id, 'check_id' => $check, 'milliseconds' => $milliseconds, 'created_at' => now(),
            ]);
            if ($new) {
                RunCheck::dispatch($id);
            }

            return (bool) $new;
        }, 3);
    }

    /** @return list<string> Unfinished ones without a job: nobody will ever finish them. */
    public static function lost(): array
    {
        // One transaction, one moment: what is queued or finished between two looks would seem lost.
        return DB::transaction(function (): array {
            $queued = DB::table('jobs')->pluck('payload')->map(fn (string $job) => json_decode($job)->displayName);

            return self::query()->where('status', '!=', 'completed')->orderBy('id')->pluck('id')->diff($queued)->values()->all();
        });
    }
}
