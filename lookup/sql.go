package lookup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// ErrExpansionLimit is wrapped when a query gives more values than the table's
// limit allows.
var ErrExpansionLimit = errors.New("more values than the expansion limit")

// Errors of statements that find nothing because they are none of a table's.
var (
	errNoResultSet = errors.New("the query returned no result set")
	errResultSets  = errors.New("the query returned more than one result set")
)

// Querier asks a database. *sql.DB is one, *sql.Conn and *sql.Tx are, and
// *SQLHosts is for a database on several hosts.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// SQLQuery is how a table in a database is asked: the language of
// mysql_table(5).
type SQLQuery struct {
	// Query is the statement, "SELECT goto FROM alias WHERE address='%s'". It
	// is required. %s is the key, %u and %d are what stands before and behind
	// its last "@", %1 to %9 are the labels of its domain, "org" first, %% is a
	// percent sign; %S, %U and %D are as %s, %u and %d. They never become part
	// of the statement: they are bound as arguments, alone or with the rest of
	// the string they stand in, and directly behind LIKE a key's own "%" and "_"
	// are no wildcards. A key that lacks a part that the statement has
	// an expansion for is not found: without "@" it has no %d and is all %u.
	Query string
	// Result is what becomes of each column of each row: %s, %u and %d are the
	// value and what stands before and behind its "@", the others are of the
	// key. "" means "%s".
	Result string
	// Domains has the domains that the database is asked about: other keys,
	// and those without "user@" before the domain, are not found. nil asks for
	// every key.
	Domains LookupTable
	// Limit is how many values one key may have; more of them are an error. 0
	// means any number.
	Limit int
	// NoResultSet is for a stored procedure that does not always return rows: a
	// query without any result set finds nothing. false means that it is an
	// error. Two result sets always are one.
	NoResultSet bool
	// Dialect is the database's. 0 means MySQL.
	Dialect Dialect
	// Timeout bounds one lookup. 0 means 30 seconds, negative is no bound but ctx.
	Timeout time.Duration
}

// SQL is a table in a database. It holds no connection of its own.
type SQL struct {
	db     Querier
	query  SQLQuery
	stmt   statement
	result template
	// untyped is set once a PostgreSQL could not tell the type of an argument: it
	// never will.
	untyped atomic.Bool
}

// NewSQL makes a table of a database. The error says what is wrong with the
// query; the database is not asked yet.
func NewSQL(db Querier, q SQLQuery) (*SQL, error) {
	if strings.TrimSpace(q.Query) == "" {
		return nil, errors.New("sql table: no query")
	}
	stmt, err := parseStatement(q.Query, q.Dialect)
	if err != nil {
		return nil, fmt.Errorf("sql table: %w", err)
	}
	if db == nil {
		return nil, errors.New("sql table: no database")
	}
	if q.Result == "" {
		q.Result = "%s"
	}
	result, err := parseTemplate(q.Result)
	if err != nil {
		return nil, fmt.Errorf("sql table: result format: %w", err)
	}
	if q.Timeout == 0 {
		q.Timeout = 30 * time.Second
	}
	return &SQL{db: db, query: q, stmt: stmt, result: result}, nil
}

// Lookup asks the database. The values of all rows and columns are joined with
// ","; those that are NULL or empty are left out. Of SQLite's columns the first
// one counts alone, as in sqlite_table(5). A database that cannot be asked is an
// error.
func (t *SQL) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	// No column of text holds what is no text, and some databases say that in
	// an error, which would be temporary for ever.
	if key == "" || !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0 {
		return "", false, nil
	}
	if t.query.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.query.Timeout)
		defer cancel()
	}
	subject := newSubject(Fold(key))
	if asked, err := InDomains(ctx, t.query.Domains, subject.whole); !asked || err != nil {
		return "", false, err
	}
	args, ok := t.stmt.expand(subject)
	if !ok || !t.result.answerable(subject) {
		return "", false, nil
	}
	values, err := t.values(ctx, subject, args)
	if err != nil {
		return "", false, fmt.Errorf("sql table: %w", err)
	}
	return strings.Join(values, ","), len(values) > 0, nil
}

// values asks the database, or one host of it after the other.
func (t *SQL) values(ctx context.Context, key subject, args []any) (values []string, err error) {
	ask := func(ctx context.Context, db Querier) (err error) {
		values, err = t.ask(ctx, db, key, args)
		return err
	}
	if hosts, ok := t.db.(*SQLHosts); ok {
		err = hosts.attempt(ctx, ask)
	} else {
		err = ask(ctx, t.db)
	}
	return values, err
}

func (t *SQL) ask(ctx context.Context, db Querier, key subject, args []any) ([]string, error) {
	text := t.stmt.text
	if t.untyped.Load() {
		text = t.stmt.typed
	}
	rows, err := db.QueryContext(ctx, text, args...)
	if text != t.stmt.typed && isUntyped(err) {
		t.untyped.Store(true)
		rows, err = db.QueryContext(ctx, t.stmt.typed, args...)
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values, err := t.rows(rows, len(columns), key)
	if err != nil {
		return nil, err
	}
	if len(columns) == 0 && !t.query.NoResultSet {
		return nil, errNoResultSet
	}
	if more, err := rows.NextResultSet(), rows.Err(); err != nil {
		return nil, err
	} else if more {
		return nil, errResultSets
	}
	return values, nil
}

// isUntyped reports whether a PostgreSQL could not tell the type of an argument, which
// it takes for no string by itself in functions of any arguments: concat, format.
func isUntyped(err error) bool {
	var state interface{ SQLState() string }
	return errors.As(err, &state) && state.SQLState() == "42P18" // indeterminate_datatype
}

// rows reads a result set.
func (t *SQL) rows(rows *sql.Rows, columns int, key subject) (values []string, err error) {
	row := make([]sql.NullString, columns)
	into := make([]any, columns)
	for i := range row {
		into[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		values = t.collect(values, row, key)
		if t.query.Limit > 0 && len(values) > t.query.Limit {
			return nil, fmt.Errorf("%w of %d for %q", ErrExpansionLimit, t.query.Limit, key.whole)
		}
	}
	return values, rows.Err()
}

// collect adds the values of a row.
func (t *SQL) collect(values []string, row []sql.NullString, key subject) []string {
	if t.query.Dialect == SQLite && len(row) > 1 {
		row = row[:1]
	}
	for _, column := range row {
		if column.String == "" {
			continue
		}
		if s, ok := t.result.expand(newSubject(column.String), key); ok && s != "" {
			values = append(values, s)
		}
	}
	return values
}
