package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestTree looks at what can be opened, with openat2(2) and without.
func TestTree(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for name, target := range map[string]string{
		"inside": "a/b", "outside": outside, "above": "../x", "itself": "itself", "nowhere": "missing", "back": "a/../a/b",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	opened, err := OpenTree(root)
	require.NoError(t, err)
	defer opened.Close()
	tests := []struct {
		dir string
		err error
	}{
		{".", nil}, {"a/b", nil}, {"a/b/.", nil}, {"inside/c", nil}, {"inside/.", nil}, {"back/c", nil}, {"a/../a/b", nil},
		{"..", ErrEscape}, {"../x", ErrEscape}, {"a/../../x", ErrEscape}, {"/", ErrEscape}, {"/etc", ErrEscape},
		{"outside/.", ErrEscape}, {"outside/x", ErrEscape}, {"above/x", ErrEscape},
		{"inside", unix.ENOTDIR}, {"outside", unix.ENOTDIR}, {"file", unix.ENOTDIR}, {"file/x", unix.ENOTDIR}, {"fifo", unix.ENOTDIR},
		{"missing", fs.ErrNotExist}, {"a/missing", fs.ErrNotExist}, {"nowhere/.", fs.ErrNotExist},
		{"itself/x", unix.ELOOP}, {"a\x00b", unix.EINVAL},
	}
	for _, open := range []func(string) (Folder, error){opened.Open, opened.(*tree).walk} {
		for _, tt := range tests {
			f, err := open(tt.dir)
			if tt.err == nil {
				require.NoError(t, err, tt.dir)
				require.NoError(t, f.Close())
				continue
			}
			assert.ErrorIs(t, err, tt.err, tt.dir)
			assert.Nil(t, f)
		}
	}
}

// TestFolder does with a folder what a delivery does, while the folder's name
// becomes that of another one.
func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	tree, err := OpenTree(root)
	require.NoError(t, err)
	defer tree.Close()
	require.NoError(t, tree.Mkdir("tmp", 0o700))
	require.NoError(t, tree.Mkdir("new", 0o700))
	require.ErrorIs(t, tree.Mkdir("new", 0o700), fs.ErrExist)
	tmp, err := tree.Open("tmp")
	require.NoError(t, err)
	defer tmp.Close()
	to, err := tree.Open("new")
	require.NoError(t, err)
	defer to.Close()
	before, err := to.ID()
	require.NoError(t, err)

	f, err := tmp.Create("x")
	require.NoError(t, err)
	_, err = tmp.Create("x")
	require.ErrorIs(t, err, fs.ErrExist)
	n, err := f.Write([]byte("hello"))
	require.NoError(t, err)
	require.Equal(t, 5, n)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())

	require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "old")))
	require.NoError(t, tree.Mkdir("new", 0o700))
	other, err := tree.Open("new")
	require.NoError(t, err)
	defer other.Close()
	after, err := other.ID()
	require.NoError(t, err)
	require.NotEqual(t, before, after)
	require.Equal(t, before.Device, after.Device)

	require.NoError(t, tmp.Move("x", to, "y"))
	require.ErrorIs(t, tmp.Move("x", to, "y"), fs.ErrNotExist)
	require.NoError(t, to.Sync())
	b, err := os.ReadFile(filepath.Join(dir, "old", "y"))
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
	info, err := os.Stat(filepath.Join(dir, "old", "y"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, to.Remove("y"))

	// A link in the place of a file is not followed.
	require.NoError(t, os.Symlink(filepath.Join(dir, "z"), filepath.Join(dir, "tmp", "z")))
	_, err = tmp.Create("z")
	require.ErrorIs(t, err, fs.ErrExist)
}

// TestMkdirOwned gives away what it makes, and nothing else.
func TestMkdirOwned(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root gives directories away")
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	tree, err := OpenTree(root)
	require.NoError(t, err)
	defer tree.Close()
	require.NoError(t, tree.Mkdir("a", 0o700))
	require.NoError(t, os.Symlink("..", filepath.Join(dir, "a", "link")))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, "outside")))
	require.NoError(t, tree.MkdirOwned("a/new", 5001, 5002))
	for _, name := range []string{"a/new", "a/link", "a"} {
		require.ErrorIs(t, tree.MkdirOwned(name, 6001, 6002), fs.ErrExist, name)
	}
	require.ErrorIs(t, tree.MkdirOwned("outside/x", 6001, 6002), ErrEscape)
	require.ErrorIs(t, tree.MkdirOwned("missing/x", 6001, 6002), fs.ErrNotExist)
	for name, uid := range map[string]int{"a": 0, "a/new": 5001} {
		f, err := tree.Open(name)
		require.NoError(t, err)
		owner, err := f.Owner()
		require.NoError(t, err)
		require.Equal(t, uid, owner, name)
		require.NoError(t, f.Close())
	}
	left, err := os.ReadDir(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Len(t, left, 2)
}
