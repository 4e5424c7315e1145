<?php

namespace App\Http\Controllers;

use App\Models\User;
use Illuminate\Contracts\View\View;
use Illuminate\Http\RedirectResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Log;
use Illuminate\Validation\ValidationException;

final class SessionController
{
    public function create(): View
    {
        return view('login');
    }

    public function store(Request $request): RedirectResponse
    {
        $credentials = $request->validate(['email' => ['required', 'email'], 'password' => ['required', 'string']]);
        if ($credentials['email'] === config('checks.demo.email')) {
            User::refreshDemo();
        }
        if (! Auth::attempt($credentials)) {
            Log::warning('unauthorized login', ['client' => $request->ip()]);
            throw ValidationException::withMessages(['email' => 'Adresse ou mot de passe incorrect.']);
        }
        $request->session()->regenerate();
        Auth::user()->touch();

        return redirect()->intended('/checks');
    }

    public function destroy(Request $request): RedirectResponse
    {
        Auth::logout();
        $request->session()->invalidate();
        $request->session()->regenerateToken();

        return redirect('/');
    }
}
