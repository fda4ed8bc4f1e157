package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/cdb"
	"github.com/mtakit/mtakit/lookup/compiled"
)

// open opens the tables of the command line.
func (t *tool) open(ctx context.Context) (all lookup.Tables, err error) {
	for _, reference := range t.tables {
		table, err := t.opener.Open(ctx, typed(reference))
		if err != nil {
			return nil, err
		}
		all = append(all, table)
	}
	return all, nil
}

// ask prints the value under a key, or with "-" the keys of standard input that
// are found, each with its value.
func (t *tool) ask(ctx context.Context, key string) (found bool, err error) {
	if key != "-" {
		return t.askOne(ctx, key)
	}
	all, err := t.open(ctx)
	if err != nil {
		return false, err
	}
	out := bufio.NewWriter(t.out)
	defer out.Flush()
	if t.header || t.body {
		found, err = t.askMessage(ctx, all, out)
		if err != nil {
			return found, failed(t.tables, err)
		}
		return found, out.Flush()
	}
	for key, err := range lines(t.in) {
		if err != nil {
			return false, err
		}
		value, ok, err := all.Lookup(ctx, key)
		if err != nil {
			return false, failed(t.tables, err)
		}
		if ok {
			found = true
			fmt.Fprintf(out, "%s\t%s\n", key, value)
		}
	}
	return found, out.Flush()
}

// askOne prints the value under a key. Tables behind the one that has it are not
// opened.
func (t *tool) askOne(ctx context.Context, key string) (found bool, err error) {
	for _, reference := range t.tables {
		table, err := t.opener.Open(ctx, typed(reference))
		if err != nil {
			return false, err
		}
		value, ok, err := table.Lookup(ctx, key)
		if err != nil {
			return false, failed(t.tables, err)
		}
		if ok {
			_, err := fmt.Fprintln(t.out, value)
			return err == nil, err
		}
	}
	return false, nil
}

// failed tells that a table could not answer.
func failed(tables []string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("table %s: query error: %w", strings.Join(tables, ", "), err)
}

// lines yields the lines of a text that are not empty.
func lines(r io.Reader) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(nil, lookup.MaxLine)
		for s.Scan() {
			if line := strings.TrimSuffix(s.Text(), "\r"); line != "" && !yield(line, nil) {
				return
			}
		}
		if s.Err() != nil {
			yield("", s.Err())
		}
	}
}

// list prints all that is in the tables.
func (t *tool) list(ctx context.Context) error {
	out := bufio.NewWriter(t.out)
	defer out.Flush()
	for _, reference := range t.tables {
		_, entries, err := t.entries(ctx, typed(reference))
		if err != nil {
			return err
		}
		for e, err := range entries {
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s\t%s\n", e.Key, e.Value)
		}
	}
	return out.Flush()
}

// entries returns a table with what is in it, each key once and folded.
func (t *tool) entries(ctx context.Context, reference string) (lookup.LookupTable, iter.Seq2[lookup.Entry, error], error) {
	table, err := t.opener.Open(ctx, reference)
	if err != nil {
		return nil, nil, err
	}
	kind, _, _ := strings.Cut(reference, ":")
	switch table := table.(type) {
	case *cdb.Table:
		return table, table.All(), nil
	case *compiled.File:
		return table, table.All(), nil
	case *lookup.File:
		if !lookup.FullKeyOnly(table) {
			return table, ofText(table, kind), nil
		}
	case lookup.Inline:
		return table, ofMap(table), nil
	}
	return nil, nil, fmt.Errorf("table %s: sequence operation is not supported", reference)
}

// ofText leaves out bad lines and second keys: the table has told of them when it
// was opened.
func ofText(f *lookup.File, kind string) iter.Seq2[lookup.Entry, error] {
	read := lookup.Entries
	if kind == "aliases" || kind != "texthash" && lookup.IsAliases(f.Path(), f.Text()) {
		read = lookup.AliasEntries
	}
	return func(yield func(lookup.Entry, error) bool) {
		seen := map[string]bool{}
		for e, err := range read(f.Path(), f.Text()) {
			e.Key = lookup.Fold(e.Key)
			if err != nil || e.Value == "" || seen[e.Key] {
				continue
			}
			seen[e.Key] = true
			if !yield(e, nil) {
				return
			}
		}
	}
}

func ofMap(m lookup.Inline) iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		for key, value := range m {
			if !yield(lookup.Entry{Key: key, Value: value}, nil) {
				return
			}
		}
	}
}
