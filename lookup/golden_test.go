package lookup_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

var update = flag.Bool("update", false, "rewrite the .want files of testdata")

// TestGuide reads tables as guides have them. A .want file holds lines of
// "key => value"; with -update it is written anew for the keys in it.
func TestGuide(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/guide/*")
	require.NoError(t, err)
	tables := 0
	for _, path := range files {
		kind := strings.TrimPrefix(filepath.Ext(path), ".")
		if kind == "want" {
			continue
		}
		tables++
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			f, err := openers[kind](path, lookup.Options{})
			require.NoError(t, err)
			golden(t, f, strings.TrimSuffix(path, "."+kind)+".want")
		})
	}
	assert.Equal(t, 14, tables)
}

func golden(t *testing.T, f *lookup.File, path string) {
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	var got strings.Builder
	for line := range strings.Lines(string(want)) {
		if strings.HasPrefix(line, "problem ") {
			continue
		}
		key, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " => ")
		fmt.Fprintf(&got, "%s => %s\n", key, get(t, f, key))
	}
	for _, p := range f.Status().Problems {
		fmt.Fprintf(&got, "problem %s\n", strings.TrimPrefix(p.Error(), f.Path()+":"))
	}
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got.String()), 0o644))
		return
	}
	assert.Equal(t, string(want), got.String())
}
