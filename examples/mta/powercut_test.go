//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestPowerCut cuts the power for real: the server's directory lies on an ext4
// of its own, which is shut down under load without writing its log, mounted
// again, and must hold every message that got a 250, whole.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	disk := newDisk(t)
	for round := range cutRounds {
		syncfs := []string{"-syncfs=on", "-syncfs=off"}[round%2]
		disk.mount(t)
		p := launch(t, filepath.Join(disk.dir, "mta"), "-log", "off", syncfs)
		l := newLoad(10000*round, "alice@example.test", "bob@example.test", "carol@example.test")
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(p.smtp, 20, 2000)
		}()
		<-l.reach
		// The machine stops before its disk does: a process that lives on would be
		// told by ext4 that a sync which the cut has caught midway was fine.
		require.NoError(t, p.cmd.Process.Signal(unix.SIGSTOP))
		disk.cut(t)
		p.kill(t)
		<-done
		disk.unmount(t)

		disk.mount(t)
		p = launch(t, filepath.Join(disk.dir, "mta"), "-log", "off")
		l.requireDelivered(t, p)
		require.Empty(t, glob(t, filepath.Join(p.dir, "queue", "corrupt", "*")))
		p.kill(t)
		require.NoError(t, os.RemoveAll(filepath.Join(disk.dir, "mta", "mail")))
		disk.unmount(t)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	require.NoError(t, err)
	return names
}

// disk is an ext4 with a journal in a file.
type disk struct{ image, dir string }

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{image: filepath.Join(t.TempDir(), "disk"), dir: t.TempDir()}
	f, err := os.Create(d.image)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(512<<20))
	require.NoError(t, f.Close())
	run1(t, "mkfs.ext4", "-q", "-F", d.image)
	t.Cleanup(func() { unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

func (d *disk) mount(t *testing.T)   { t.Helper(); run1(t, "mount", "-o", "loop", d.image, d.dir) }
func (d *disk) unmount(t *testing.T) { t.Helper(); run1(t, "umount", d.dir) }

// cut is EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: from here on
// nothing more reaches the disk, and what the journal has not committed is gone.
func (d *disk) cut(t *testing.T) {
	t.Helper()
	f, err := os.Open(d.dir)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(f.Fd()), 0x8004587d, 2))
}

func run1(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
}
