<?php

namespace App\Jobs;

use App\Models\Check;
use App\Models\Execution;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Bus\Dispatchable;
use Illuminate\Support\Facades\DB;

/** The work of one check: it costs time and nothing else. Runs at least once; a run after the end does nothing. */
final class RunCheck implements ShouldQueue
{
    use Dispatchable, Queueable;

    // A worker that is killed costs one of these.
    public int $tries = 20;

    public function __construct(public readonly string $execution)
    {
    }

    /** Stands in the job's payload, so that the ledger can tell which executions have a job. */
    public function displayName(): string
    {
        return $this->execution;
    }

    public function handle(): void
    {
        $started = Execution::query()->whereKey($this->execution)->where('status', '!=', 'completed')
            ->update(['status' => 'processing', 'starts' => DB::raw('starts + 1')]);
        if (! $started) {
            return;
        }
        $execution = Execution::query()->findOrFail($this->execution);
        usleep($execution->milliseconds * 1000);
        DB::transaction(function () use ($execution): void {
            if ($execution->check_id !== null) {
                Check::close($execution->check_id);
            }
            Execution::query()->whereKey($execution->id)->update([
                'status' => 'completed', 'completions' => DB::raw('completions + 1'), 'finished_at' => now(),
            ]);
        });
    }
}
