package main

import (
	"bytes"
	"errors"
	"math"
	"net"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// newTree is an empty database. Its type makes geoip2 read it as a City database; its date is the source's, so that the same
// source makes the same bytes. Reserved networks stay empty.
func newTree(built time.Time) (*mmdbwriter.Tree, error) {
	return mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: "DBIP-City-Lite",
		Description:  map[string]string{"en": "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0, networks merged and places rounded"},
		Languages:    []string{"en"},
		BuildEpoch:   built.Unix(),
		IPVersion:    6,
		RecordSize:   24, // 6 bytes a node; enough for 16 million nodes and bytes of records together
	})
}

// insert puts the blocks into the tree and counts them. Space that nobody uses is left out, and so are the few IPv6 networks
// of which the tree is made otherwise: reserved ones, and those that stand for IPv4 addresses.
func insert(tree *mmdbwriter.Tree, blocks []block) (inserted int, err error) {
	for _, b := range blocks {
		if b.country == "" {
			continue
		}
		network := &net.IPNet{IP: b.prefix.Addr().AsSlice(), Mask: net.CIDRMask(b.prefix.Bits(), b.prefix.Addr().BitLen())}
		err := tree.Insert(network, recordOf(b))
		var reserved *mmdbwriter.ReservedNetworkError
		var aliased *mmdbwriter.AliasedNetworkError
		if errors.As(err, &reserved) || errors.As(err, &aliased) {
			continue
		}
		if err != nil {
			return 0, err
		}
		inserted++
	}
	return inserted, nil
}

// grid is what latitudes and longitudes are rounded to, in degrees. Half a degree is at most 39 km off, and few different
// records make a small database.
const grid = 0.5

// recordOf is a block in the words of GeoIP2 City.
func recordOf(b block) mmdbtype.Map {
	lat, lon := b.places.centre()
	return mmdbtype.Map{
		"country": mmdbtype.Map{"iso_code": mmdbtype.String(b.country)},
		"location": mmdbtype.Map{
			"latitude":        mmdbtype.Float64(round(lat)),
			"longitude":       mmdbtype.Float64(round(lon)),
			"accuracy_radius": mmdbtype.Uint16(radius(b.places.spreadKm())),
		},
	}
}

func round(degrees float64) float64 { return math.Round(degrees/grid)*grid + 0 } // + 0 makes 0 of -0

// radius is a spread and the error of rounding, in one of few steps.
func radius(spreadKm float64) uint16 {
	const rounding = 20 // km, on average
	for _, step := range []uint16{20, 50, 100, 200, 300, 500, 700} {
		if spreadKm+rounding <= float64(step) {
			return step
		}
	}
	return 1000
}

func bytesOf(tree *mmdbwriter.Tree) ([]byte, error) {
	var content bytes.Buffer
	_, err := tree.WriteTo(&content)
	return content.Bytes(), err
}
