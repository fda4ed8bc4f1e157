//go:build crash

package main

const killRounds, cutRounds = 200, 50
