package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/mtakit/mtakit/lookup"
)

// kinds are the searches of package lookup.
var kinds = []string{"plain", "address", "access", "client", "domain"}

// search makes the search of a kind over tables.
func search(kind, delimiters string, tables lookup.Tables) (lookup.LookupTable, error) {
	switch kind {
	case "plain":
		return tables, nil
	case "address":
		return &lookup.AddressTable{Tables: tables, Delimiters: delimiters}, nil
	case "access":
		return &lookup.AccessAddressTable{Tables: tables, Delimiters: delimiters}, nil
	case "client":
		return &lookup.ClientTable{Tables: tables}, nil
	case "domain":
		return &lookup.DomainTable{Tables: tables}, nil
	}
	return nil, fmt.Errorf("-kind %s: want one of %s", kind, strings.Join(kinds, ", "))
}

// explained is a table that tells what it is asked for.
type explained struct {
	lookup.LookupTable
	name string
	tell func(name, key, note, value string, ok bool, err error)
}

func (e explained) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	value, ok, err = e.LookupTable.Lookup(ctx, key)
	e.tell(e.name, key, "", value, ok, err)
	return value, ok, err
}

// LookupPartial tells that tables of patterns are not asked for parts of keys.
func (e explained) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	if lookup.FullKeyOnly(e.LookupTable) {
		e.tell(e.name, key, "not asked for a part of the key", "", false, nil)
		return "", false, nil
	}
	value, ok, err = lookup.LookupPartial(ctx, e.LookupTable, key)
	e.tell(e.name, key, "", value, ok, err)
	return value, ok, err
}

// FullKeyOnly is false, so that the search shows which keys it leaves out.
func (e explained) FullKeyOnly() bool { return false }

// explain prints each key that is asked for, in which table, and what is found.
func (t *tool) explain(ctx context.Context) (found bool, err error) {
	all, err := t.open(ctx)
	if err != nil {
		return false, err
	}
	tell := func(name, key, note, value string, ok bool, err error) {
		switch {
		case err != nil:
			note = "fails: " + err.Error()
		case ok:
			note = "found: " + value
		case note == "":
			note = "not there"
		}
		fmt.Fprintf(t.out, "%-30s %-24s %s\n", key, name, note)
	}
	for i := range all {
		all[i] = explained{all[i], typed(t.tables[i]), tell}
	}
	s, err := search(t.kind, t.delimiters, all)
	if err != nil {
		return false, err
	}
	value, ok, err := s.Lookup(ctx, *t.query)
	switch {
	case err != nil:
		return false, failed(t.tables, err)
	case ok:
		fmt.Fprintf(t.out, "\n%s: %s\n", *t.query, value)
	default:
		fmt.Fprintf(t.out, "\n%s: not found\n", *t.query)
	}
	return ok, nil
}
