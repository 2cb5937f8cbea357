package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"proxima/configs"
)

func (a *app) validateCommand() *cobra.Command {
	var file string
	var out format
	var schema bool
	cmd := &cobra.Command{
		Use:   "validate -c FILE",
		Short: "Check a configuration: every problem at once, with line, column and hint",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			if schema {
				return a.printSchema()
			}
			if file == "" {
				return usage("which file? proxima validate -c proxima.yaml")
			}
			return a.validate(file, out)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration file")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of the file instead, for editors")
	out.flag(cmd)
	return cmd
}

// validate prints problems as data when they were asked for as JSON, else as the
// error that they are.
func (a *app) validate(file string, out format) error {
	config, err := configs.Load(file, a.env)
	var problems configs.Problems
	if err != nil && !errors.As(err, &problems) {
		return &exit{exitConfig, err}
	}
	if err == nil {
		if _, err := openPlaces(config); err != nil { // too much work for configs to do on each reload
			return &exit{exitConfig, err}
		}
	}
	if out == "json" {
		if err := writeJSON(a.stdout, validity{len(problems) == 0, append(configs.Problems{}, problems...)}); err != nil {
			return err
		}
		if len(problems) > 0 {
			return &exit{exitConfig, errors.New("")}
		}
		return nil
	}
	if err != nil {
		return &exit{exitConfig, fmt.Errorf("%s in %s\n%w", plural(len(problems), "problem"), file, err)}
	}
	fmt.Fprintf(a.stdout, "%s is valid: %s, %s\n", file, plural(len(config.Regions), "region"), plural(len(config.Endpoints), "endpoint"))
	return nil
}

type validity struct {
	Valid    bool             `json:"valid"`
	Problems configs.Problems `json:"problems"`
}

func (a *app) printSchema() error {
	text, err := configs.Schema()
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(text)
	return err
}
