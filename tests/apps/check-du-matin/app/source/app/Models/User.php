<?php

namespace App\Models;

use Illuminate\Foundation\Auth\User as Authenticatable;
use Illuminate\Support\Facades\Hash;

final class User extends Authenticatable
{
    protected $fillable = ['email', 'name', 'password'];

    protected $hidden = ['password', 'remember_token'];

    protected $casts = ['password' => 'hashed'];

    /** The demonstration account follows the environment: without DEMO_PASSWORD nobody can log in to it. */
    public static function refreshDemo(): void
    {
        ['email' => $email, 'password' => $password] = config('checks.demo');
        if (blank($password)) {
            self::query()->where('email', $email)->delete();

            return;
        }
        $user = self::query()->firstOrCreate(['email' => $email], ['name' => 'Demo', 'password' => $password]);
        if (! Hash::check($password, $user->password)) {
            $user->update(['password' => $password]);
        }
    }
}
