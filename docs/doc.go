// Package docs keeps the documentation true: its test writes the configuration
// reference from the structs that are read, and follows the links between pages.
package docs
