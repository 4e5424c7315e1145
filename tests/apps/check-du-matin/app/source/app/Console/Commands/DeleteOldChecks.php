<?php

namespace App\Console\Commands;

use App\Models\Check;
use App\Models\Execution;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\Log;

final class DeleteOldChecks extends Command
{
    private const BATCH = 1000;

    protected $signature = 'checks:delete-old {--days= : Age at which checks go}';

    protected $description = 'Delete old checks and the executions that belong to them';

    public function handle(): int
    {
        $days = $this->option('days') ?? config('checks.keep_days');
        if (filter_var($days, FILTER_VALIDATE_INT, ['options' => ['min_range' => 1]]) === false) {
            $this->error("--days={$days} is not a whole number of 1 or more");

            return self::INVALID;
        }
        $before = now()->subDays((int) $days);
        $deleted = 0;
        // In batches, so that no lock is held for long.
        while ($ids = Check::query()->where('created_at', '<', $before)->limit(self::BATCH)->pluck('id')->all()) {
            Execution::query()->whereIn('check_id', $ids)->delete();
            $deleted += Check::query()->whereIn('id', $ids)->delete();
        }
        Log::info('old checks deleted', ['days' => (int) $days, 'count' => $deleted]);
        $this->line("deleted {$deleted} checks older than {$days} days");

        return self::SUCCESS;
    }
}
