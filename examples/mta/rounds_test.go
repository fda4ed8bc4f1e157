//go:build !crash

package main

// How often the server is killed, and the power cut. See TestKill for more.
const killRounds, cutRounds = 3, 4
