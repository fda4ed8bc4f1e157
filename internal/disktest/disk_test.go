package disktest_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/disktest"
)

func TestDisk(t *testing.T) {
	t.Parallel()
	d := disktest.New(t, "ext4", 8)
	name := filepath.Join(d.Dir, "file")
	require.NoError(t, os.WriteFile(name, []byte("x"), 0o600))
	require.ErrorIs(t, os.WriteFile(name+"2", make([]byte, 16<<20), 0o600), syscall.ENOSPC)
	require.NoError(t, os.Remove(name+"2"))
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	d.Break(t)
	_, err = f.Write([]byte("y"))
	require.ErrorIs(t, err, syscall.EROFS)
	require.NoError(t, f.Close())
	d.Repair(t)
	require.NoError(t, os.WriteFile(name, []byte("z"), 0o600))
}

func TestMemory(t *testing.T) {
	t.Parallel()
	d := disktest.New(t, "tmpfs", 1)
	require.ErrorIs(t, os.WriteFile(filepath.Join(d.Dir, "file"), make([]byte, 2<<20), 0o600), syscall.ENOSPC)
}
