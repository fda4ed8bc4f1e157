package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

// checkAliases is what is left of newaliases(1): there is nothing to build, since
// the server reads the file again when it changes. It says what is wrong in it.
func (o *options) checkAliases(out io.Writer) error {
	path := cmp.Or(o.aliases, filepath.Join(o.dir, "etc", "aliases"))
	if _, file, typed := strings.Cut(path, ":"); typed {
		path = file // "hash:/etc/aliases"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fail(exitConfig, "%w", err)
	}
	entries, bad := 0, 0
	problem := func(err error) {
		fmt.Fprintln(out, printable(err.Error()))
		bad++
	}
	for _, err := range lookup.AliasEntries(path, string(text)) {
		if err != nil {
			problem(err)
		} else {
			entries++
		}
	}
	for _, err := range new(rewrite.Aliases).Check(path, strings.NewReader(string(text))) {
		problem(err)
	}
	if bad > 0 {
		return fail(exitDataErr, "%s: %d aliases, %d mistakes", path, entries, bad)
	}
	fmt.Fprintf(out, "%s: %d aliases; the server reads it by itself\n", path, entries)
	return nil
}
