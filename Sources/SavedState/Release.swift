/// Which vmctl this is. The one place that says so: `vmctl --version`, saved states and the teleport's greeting take it
/// from here, CHANGELOG.md has what it changed.
public enum Release {
  /// "MAJOR.MINOR", as CHANGELOG.md counts.
  public static let version = "0.3"
  /// With the program's name, for people; never compared.
  public static let name = "vmctl " + version
}
