package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/cdb"
)

// build makes the tables of the command line of their text files, or adds standard
// input to them.
func (t *tool) build(ctx context.Context) error {
	for _, reference := range t.tables {
		kind, name, _ := strings.Cut(typed(reference), ":")
		var err error
		switch kind {
		case "cdb":
			err = t.buildCDB(name)
		case "hash", "btree", "texthash", "aliases", "regexp", "pcre", "cidr":
			err = t.check(ctx, typed(reference))
		default:
			err = fmt.Errorf("unsupported dictionary type: %s does not support bulk-mode creation", kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check reads a text file, which is all that its table needs.
func (t *tool) check(ctx context.Context, reference string) error {
	if t.incremental {
		return fmt.Errorf("%s is a text file: add to it with an editor", reference)
	}
	_, err := t.opener.Open(ctx, reference)
	return err
}

func (t *tool) buildCDB(name string) error {
	if !t.incremental {
		mode, err := t.mode(name)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return t.write(cdbName(name), mode, lookup.Entries(name, string(text)))
	}
	text, err := io.ReadAll(t.in)
	if err != nil {
		return err
	}
	return t.change(name, lookup.Entries("stdin", string(text)))
}

// mode returns the permissions of what is made of a file: nobody may read there what
// he may not read in the file, which has passwords perhaps.
func (t *tool) mode(name string) (os.FileMode, error) {
	if t.public {
		return 0o644, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Mode()&0o644 | 0o600, nil
}

// write makes a file of entries; mode 0 keeps its permissions. Bad lines are told of
// and left out.
func (t *tool) write(path string, mode fs.FileMode, entries iter.Seq2[lookup.Entry, error]) error {
	w, err := cdb.Create(path)
	if err != nil {
		return err
	}
	defer w.Discard()
	w.Mode = mode
	if t.replace {
		entries = lastOf(entries)
	}
	var bad *lookup.LineError
	for e, err := range entries {
		if err == nil && e.Value == "" {
			fmt.Fprintf(t.errs, "postmap: warning: line %d: key %q without a value, line skipped\n", e.Line, e.Key)
			continue
		}
		if err == nil {
			err = w.Put(e.Key, e.Value)
		}
		switch {
		case errors.Is(err, cdb.ErrDuplicate):
			fmt.Fprintf(t.errs, "postmap: warning: %s: duplicate entry: %q\n", path, e.Key)
		case errors.As(err, &bad):
			fmt.Fprintln(t.errs, "postmap: warning:", err)
		case err != nil: // half a table must not pass for one
			return err
		}
	}
	return w.Commit()
}

// lastOf yields the last value of each key where its first one stands.
func lastOf(entries iter.Seq2[lookup.Entry, error]) iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		at := map[string]int{}
		var all []lookup.Entry
		for e, err := range entries {
			if err != nil {
				if !yield(e, err) {
					return
				}
				continue
			}
			key := lookup.Fold(e.Key)
			if i, ok := at[key]; ok {
				all[i].Value = e.Value
				continue
			}
			at[key] = len(all)
			all = append(all, e)
		}
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// change writes a file anew with more entries behind those that it has.
func (t *tool) change(name string, more iter.Seq2[lookup.Entry, error]) error {
	path, err := filepath.Abs(cdbName(name))
	if err != nil {
		return err
	}
	table, err := cdb.Open(path, lookup.Options{Check: -1})
	if errors.Is(err, fs.ErrNotExist) {
		return t.write(path, 0, more)
	}
	if err != nil {
		return err
	}
	defer table.Close()
	return t.write(path, 0, func(yield func(lookup.Entry, error) bool) {
		for _, all := range []iter.Seq2[lookup.Entry, error]{table.All(), more} {
			for e, err := range all {
				if !yield(e, err) {
					return
				}
			}
		}
	})
}

// remove takes keys out of the tables. found says that one of them was there.
func (t *tool) remove(ctx context.Context, key string) (found bool, err error) {
	keys := []string{key}
	if key == "-" {
		keys = nil
		for line, err := range lines(t.in) {
			if err != nil {
				return false, err
			}
			keys = append(keys, line)
		}
	}
	for i, k := range keys {
		keys[i] = lookup.Fold(k)
	}
	for _, reference := range t.tables {
		kind, name, _ := strings.Cut(typed(reference), ":")
		if kind != "cdb" {
			return false, fmt.Errorf("%s map requires read-only access", typed(reference))
		}
		ok, err := t.without(name, keys)
		if err != nil {
			return false, err
		}
		found = found || ok
	}
	return found, nil
}

// without writes a file anew without some keys.
func (t *tool) without(name string, keys []string) (found bool, err error) {
	table, err := cdb.Open(cdbName(name), lookup.Options{Check: -1})
	if err != nil {
		return false, err
	}
	defer table.Close()
	var damage error
	kept := func(yield func(lookup.Entry, error) bool) {
		for e, err := range table.All() {
			switch {
			case err != nil:
				damage = err
			case slices.Contains(keys, e.Key):
				found = true
			case !yield(e, nil):
				return
			}
		}
	}
	w, err := cdb.Create(cdbName(name))
	if err != nil {
		return false, err
	}
	defer w.Discard()
	for e := range kept {
		if err := w.Put(e.Key, e.Value); err != nil {
			return false, err
		}
	}
	if damage != nil || !found {
		return false, damage
	}
	return true, w.Commit()
}

// isNIS reports whether an entry is one of those that postalias(1) puts into each table,
// which are there for NIS alone.
func isNIS(e lookup.Entry) bool {
	return e.Key == "YP_LAST_MODIFIED" || e.Key == "YP_MASTER_NAME" || e.Key == "@" && e.Value == "@"
}

// withoutNIS leaves out what no line of a text has made.
func withoutNIS(entries iter.Seq2[lookup.Entry, error]) iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		for e, err := range entries {
			if (err != nil || !isNIS(e)) && !yield(e, err) {
				return
			}
		}
	}
}

// convert writes a table as another: a cdb file, or a text.
func (t *tool) convert(ctx context.Context, from, to string) error {
	table, entries, err := t.entries(ctx, typed(from))
	if err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if file, ok := table.(interface{ Path() string }); ok {
		if mode, err = t.mode(file.Path()); err != nil {
			return err
		}
	}
	kind, name, _ := strings.Cut(typed(to), ":")
	switch kind {
	case "cdb":
		return t.write(cdbName(name), mode, withoutNIS(entries))
	case "hash", "btree", "texthash":
		return writeText(name, mode, withoutNIS(entries), asEntry)
	case "aliases":
		return writeText(name, mode, withoutNIS(entries), asAlias)
	}
	return fmt.Errorf("cannot write a %s table", kind)
}

// writeText writes the lines of entries to a new file, which must not exist.
func writeText(name string, mode os.FileMode, entries iter.Seq2[lookup.Entry, error], line func(lookup.Entry) (string, bool)) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	out := bufio.NewWriter(f)
	for e, err := range entries {
		if err != nil {
			return err
		}
		text, ok := line(e)
		if !ok {
			return fmt.Errorf("key %q cannot be written as a line of text", e.Key)
		}
		if _, err := out.WriteString(text); err != nil {
			return err
		}
	}
	return errors.Join(out.Flush(), f.Sync())
}

// asEntry returns an entry as a line of postmap(1), if there is one.
func asEntry(e lookup.Entry) (line string, ok bool) {
	line = e.Key + "\t" + e.Value + "\n"
	return line, readsBack(e, lookup.Entries("text", line))
}

// asAlias returns an entry as a line of aliases(5), if there is one. Names that need
// quotes have them.
func asAlias(e lookup.Entry) (line string, ok bool) {
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(e.Key) + `"`
	for _, key := range []string{e.Key, quoted} {
		line = key + ":\t" + e.Value + "\n"
		if readsBack(e, lookup.AliasEntries("text", line)) {
			return line, true
		}
	}
	return "", false
}

// readsBack reports whether a line is read as an entry and as nothing else.
func readsBack(e lookup.Entry, line iter.Seq2[lookup.Entry, error]) bool {
	n := 0
	for back, err := range line {
		if n++; err != nil || n > 1 || back.Key != e.Key || back.Value != strings.TrimSpace(e.Value) {
			return false
		}
	}
	return n == 1
}
