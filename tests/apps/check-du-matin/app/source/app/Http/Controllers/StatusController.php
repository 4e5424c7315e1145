<?php

namespace App\Http\Controllers;

use App\Support\Faulty;
use App\Support\Journal;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Log;
use Throwable;

final class StatusController
{
    private const LONGEST = 10000;

    /** Good while the application answers and reaches its database. */
    public function health(): JsonResponse
    {
        try {
            DB::select('SELECT 1');
            $database = true;
        } catch (Throwable) {
            $database = false;
        }
        $good = $database && ! Faulty::neverHealthy();

        return new JsonResponse([
            'status' => $good ? 'ok' : 'failing',
            'database' => $database ? 'ok' : 'failing',
            'timestamp' => now()->toIso8601ZuluString('millisecond'),
        ], $good ? 200 : 503);
    }

    public function version(): JsonResponse
    {
        return new JsonResponse(['service' => 'check-du-matin', 'version' => config('app.version')]);
    }

    public function slow(Request $request): JsonResponse
    {
        $milliseconds = min(max((int) $request->query('ms', '1000'), 0), self::LONGEST);
        Log::info('slow request begun', ['milliseconds' => $milliseconds]);
        usleep($milliseconds * 1000);

        return new JsonResponse(['milliseconds' => $milliseconds, 'version' => config('app.version')]);
    }

    public function scheduler(): JsonResponse
    {
        return new JsonResponse(['heartbeat' => Journal::lastHeartbeat()]);
    }
}
