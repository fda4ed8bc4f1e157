// Package spooltest checks an implementation of queue.Spool against its
// contract.
//
// # Use
//
//  1. Run checks what every spool must do: what is accepted comes back byte for
//     byte, changes mean what they say, any number of goroutines, and, for a
//     spool that keeps what it has, that all of it is there after a restart.
//  2. RunCrash is for spools on files: it crashes the machine at every single
//     file operation of a script, and lets every single one fail, and then looks
//     whether everything that was acknowledged is there and nothing else.
//
// # Caveats
//
// RunCrash knows the file system only: it cannot test a spool in a database.
package spooltest
