<?php

namespace App\Http\Controllers;

use App\Models\Execution;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Validator;
use Illuminate\Support\Str;

final class ExecutionController
{
    public function store(Request $request): JsonResponse
    {
        $validator = Validator::make($request->all(), [
            'id' => ['sometimes', 'string', 'regex:/\A[A-Za-z][\w-]{0,63}\z/'],
            'ms' => ['sometimes', 'integer', 'between:0,10000'],
        ]);
        if ($validator->fails()) {
            return new JsonResponse(['error' => 'invalid_request', 'problems' => $validator->errors()->all()], 400);
        }
        $id = $request->input('id') ?? 'x'.Str::uuid()->toString();
        $new = Execution::submit($id, (int) $request->input('ms', config('checks.milliseconds')));

        return new JsonResponse(Execution::query()->findOrFail($id), $new ? 202 : 200);
    }

    public function show(string $id): JsonResponse
    {
        $execution = Execution::query()->find($id);

        return $execution ? new JsonResponse($execution) : new JsonResponse(['error' => 'not_found'], 404);
    }

    public function index(Request $request): JsonResponse
    {
        $ids = array_slice(explode(',', (string) $request->query('ids', '')), 0, 1000);

        return new JsonResponse(['executions' => Execution::query()->whereIn('id', $ids)->orderBy('id')->get()]);
    }

    public function summary(): JsonResponse
    {
        $counts = Execution::query()->groupBy('status')->selectRaw('status, COUNT(*) AS n')->pluck('n', 'status');

        return new JsonResponse([
            'counts' => (object) $counts->all(),
            'total' => $counts->sum(),
            'restarted' => Execution::query()->where('starts', '>', 1)->count(),
            'lost' => Execution::lost(),
            'repeated' => Execution::query()->where('completions', '>', 1)->orderBy('id')->pluck('id')->all(),
        ]);
    }
}
