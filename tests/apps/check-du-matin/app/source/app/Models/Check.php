<?php

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

/**
 * One check of one client. Release 1.0.0 keeps its outcome in `result`, later ones in `status`: 1.1.0 adds the new
 * column, 1.2.0 drops the old one. So 1.0.0 works beside 1.1.0, and not on what 1.2.0 leaves.
 */
final class Check extends Model
{
    protected $guarded = [];

    public static function outcome(): string
    {
        return version_compare(config('app.version'), '1.1.0', '<') ? 'result' : 'status';
    }

    /** @return list<string> */
    public static function columns(): array
    {
        return ['id', 'client', self::outcome().' as outcome', 'created_at'];
    }

    public static function open(string $client): self
    {
        return self::query()->create(['client' => $client, self::outcome() => 'open']);
    }

    public static function close(int $id): void
    {
        self::query()->whereKey($id)->update([self::outcome() => 'ok']);
    }
}
