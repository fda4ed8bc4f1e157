//go:build unix

package main

import (
	"errors"
	"io/fs"
	"syscall"
)

// becomeOwner makes the owner of a file the process' user, for good.
func becomeOwner(info fs.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return errors.Join(syscall.Setgroups([]int{int(owner.Gid)}), syscall.Setgid(int(owner.Gid)), syscall.Setuid(int(owner.Uid)))
}
