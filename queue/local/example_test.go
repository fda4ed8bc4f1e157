package local_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/local"
)

// aliases are destinations by address; a program has rewrite.Aliases in its place.
type aliases map[string][]string

func (a aliases) Destinations(_ context.Context, address string) ([]string, bool, error) {
	list, ok := a[address]
	return list, ok, nil
}

func (a aliases) Forward(_, text string) ([]string, error) { return strings.Fields(text), nil }

// users are lines of passwd(5); a program has lookup.Getent in its place.
type users map[string]string

func (u users) Lookup(_ context.Context, name string) (string, bool, error) {
	line, ok := u[name]
	return line, ok, nil
}

// Example delivers through an alias to a user's mailbox and to a command.
func Example() {
	dir, err := os.MkdirTemp("", "mbox")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	alice := fmt.Sprintf("alice:x:%d:%d::/:/bin/sh", os.Getuid(), os.Getgid())
	agent := &local.Agent{
		Aliases:   aliases{"info@example.org": {"alice@example.org", "|cat >" + dir + "/copy"}},
		Domains:   users{"example.org": ""},
		Mailboxes: &local.Mbox{Users: users{"alice": alice}, Spool: dir},
		Commands:  &local.Commands{},
		Default:   &local.User{Name: "nobody", UID: os.Getuid(), GID: os.Getgid()},
	}
	delivery := &mtakit.Delivery{
		ID:         "3K2x9",
		Envelope:   &mtakit.Envelope{Sender: "bob@example.net"},
		Recipients: []mtakit.Recipient{{Address: "info@example.org"}},
		Message:    mtakit.NewMessage([]byte("Subject: hello\r\n\r\nHi\r\n")),
	}
	for _, r := range agent.Deliver(context.Background(), delivery) {
		fmt.Println(r.Outcome, r.Status, r.Diagnostic)
	}
	files, err := os.ReadDir(dir)
	for _, f := range files {
		fmt.Println(f.Name())
	}
	// Output:
	// delivered [2 0 0] delivered to 2 destinations
	// alice
	// copy
}
