<?php

namespace App\Console\Commands;

use App\Support\Attempts;
use Illuminate\Console\Command;

/** What `migrate:status` says, for a program: also what failed, what another release applied, what has no way back. */
final class MigrationsState extends Command
{
    protected $signature = 'migrations:state {--resolve= : Forget that this migration failed}';

    protected $description = 'Print which migrations are applied, pending, failed, unknown and irreversible, as JSON';

    public function handle(): int
    {
        if (($resolve = $this->option('resolve')) && ! Attempts::forget($resolve)) {
            $this->error("{$resolve} is not among the failed ones");

            return self::FAILURE;
        }
        $migrator = app('migrator');
        $files = $migrator->getMigrationFiles(database_path('migrations'));
        $applied = $migrator->repositoryExists() ? $migrator->getRepository()->getRan() : [];
        $failed = array_values(array_diff(Attempts::failed(), $applied));
        $irreversible = array_filter($files, fn (string $file) => property_exists(require $file, 'irreversible'));
        $this->line(json_encode([
            'version' => config('app.version'),
            'applied' => array_values(array_intersect($applied, array_keys($files))),
            'pending' => array_values(array_diff(array_keys($files), $applied, $failed)),
            'failed' => $failed,
            // Of a release that knows more than this one.
            'unknown' => array_values(array_diff($applied, array_keys($files))),
            'irreversible' => array_keys($irreversible),
        ]));

        return self::SUCCESS;
    }
}
