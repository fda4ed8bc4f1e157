// Package disktest mounts small file systems, so that tests see a real disk
// that is full or cannot be written.
//
// # Use
//
//  1. New mounts an ext4 or a tmpfs for one test. It needs root and Linux, and
//     skips the test where there is no such thing.
//  2. Break makes an ext4 read-only in the way in which the kernel does it when
//     it finds an error, with files open. Repair brings it back.
//
// # Caveats
//
// It is a test tool. The file systems are unmounted when the test ends, whatever
// is still open on them.
package disktest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Disk is a mounted file system.
type Disk struct {
	Dir   string // where it is mounted
	image string // the file it lies in; "" for a tmpfs
}

// New mounts a file system of some megabytes. kind is "ext4" or "tmpfs".
func New(t testing.TB, kind string, megabytes int64) *Disk {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs root and Linux to mount a file system")
	}
	d := &Disk{Dir: t.TempDir()}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", d.Dir).Run() }) // Repair may have failed in between
	if kind == "tmpfs" {
		run(t, "mount", "-t", "tmpfs", "-o", "size="+megabyte(megabytes), "tmpfs", d.Dir)
		return d
	}
	d.image = filepath.Join(t.TempDir(), "image")
	run(t, "truncate", "-s", megabyte(megabytes), d.image)
	run(t, "mkfs.ext4", "-q", "-F", d.image)
	d.mount(t)
	return d
}

func (d *Disk) mount(t testing.TB) {
	t.Helper()
	run(t, "mount", "-o", "loop,errors=remount-ro", d.image, d.Dir)
}

// Break makes an ext4 read-only, as after an error of the disk.
func (d *Disk) Break(t testing.TB) {
	t.Helper()
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", d.Dir).Output()
	require.NoError(t, err)
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(strings.TrimSpace(string(out))), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("test"), 0o200); err != nil {
		t.Skip("this kernel cannot be told to find an error: ", err)
	}
}

// Repair checks the file system and mounts it again. Nothing may be open on it.
func (d *Disk) Repair(t testing.TB) {
	t.Helper()
	run(t, "umount", d.Dir)
	_ = exec.Command("fsck.ext4", "-p", "-f", d.image).Run() // 1 means that it has repaired something
	run(t, "fsck.ext4", "-n", "-f", d.image)
	d.mount(t)
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
}

func megabyte(n int64) string { return strconv.FormatInt(n, 10) + "M" }
