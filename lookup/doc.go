// Package lookup looks things up.
package lookup
