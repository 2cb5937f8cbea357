package mmdb

import (
	"errors"
	"fmt"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Verify reads every record of the database. The reader's own Verify is not used: it refuses databases for an empty
// description, ip-location-db's among them, that answer well.
func (db *DB) Verify() error {
	if err := db.walk(0); err != nil {
		return fmt.Errorf("geo database %q: %w", db.name, err)
	}
	return nil
}

// sample reads the first networks, enough to tell whether there are locations in this type of database.
func (db *DB) sample() error { return db.walk(10_000) }

var errEmpty = errors.New("holds no networks: fetch it again")

// walk reads up to so many networks, 0 means all, and each record once.
func (db *DB) walk(most uint) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("broken: %v: fetch it again", broken)
		}
	}()
	var networks, places uint
	seen := map[uintptr]bool{}
	everything := []maxminddb.NetworksOption{maxminddb.IncludeNetworksWithoutData(), maxminddb.IncludeAliasedNetworks()}
	for network := range db.tree.Networks(everything...) {
		if err := network.Err(); err != nil {
			return fmt.Errorf("broken: %w: fetch it again", err)
		}
		// A tree has one leaf more than it has nodes, and the IPv4 part may appear in four places. A broken tree that shares
		// branches can have 2¹²⁸ leaves, and those the iterator would pass over in silence are as many: hence everything.
		if networks++; networks > 4*(db.tree.Metadata.NodeCount+1) {
			return errors.New("broken: its search tree is not a tree: fetch it again")
		}
		if networks == most {
			break
		}
		if !network.Found() || seen[network.Offset()] {
			continue
		}
		seen[network.Offset()] = true
		place, _, err := db.find(network.Prefix().Addr())
		if err != nil {
			return fmt.Errorf("%w: fetch it again", err)
		}
		if place.Placed || place.Country != "" {
			places++
		}
	}
	if len(seen) == 0 {
		return errEmpty
	}
	if places == 0 {
		return noLocations(db.Type())
	}
	return nil
}
