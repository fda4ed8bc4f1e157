//go:build !386 && !arm && !mips && !mipsle

// The bare system calls of 32-bit Linux have user IDs of 16 bits.

package local

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// as runs f as this user. In Linux each thread has an identity of its own: f runs on
// one that takes the user's and is thrown away after it, so that nothing else can ever
// run under it. f starts no goroutines.
func as(u User, f func() error) error {
	if u.UID == os.Geteuid() && u.GID == os.Getegid() {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := become(u); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// become changes the identity of this thread alone, which is what the bare system
// calls do; those of package syscall change all threads.
func become(u User) error {
	for _, call := range [...]struct {
		name    string
		number  uintptr
		a, b, c uintptr
	}{
		{"setgroups", syscall.SYS_SETGROUPS, 0, 0, 0},
		{"setresgid", syscall.SYS_SETRESGID, uintptr(u.GID), uintptr(u.GID), uintptr(u.GID)},
		{"setresuid", syscall.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID)},
	} {
		if _, _, e := syscall.RawSyscall(call.number, call.a, call.b, call.c); e != 0 {
			return fmt.Errorf("%w: %s: %w", errIdentity, call.name, e)
		}
	}
	return nil
}
