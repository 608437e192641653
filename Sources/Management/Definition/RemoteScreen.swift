import DiskImages
import Foundation
import Machine

extension VMDefinition {
  /// How this VM's screen is served to viewers elsewhere, by VNC.
  public struct RemoteScreen: Equatable, Sendable {
    /// It is served while the machine runs.
    public var enabled = false
    /// 0: a free one.
    public var port = 5900
    /// An IPv4 address, or the path of a Unix socket; nil: loopback when there is no password, every address when there is one.
    public var address: String?
    /// A file whose first line is the password.
    public var passwordFile: String?
    /// Browsers get noVNC at the same port.
    public var web = false
    /// Not served.
    public init() {}

    /// The password to ask for, if any. VNC's own hand-shake looks at eight bytes of it.
    /// - Throws: `ManagementError` when its file cannot be read or is empty.
    func effectivePassword() throws -> String? { try passwordFile.map { try PasswordFile.read($0) } }

    /// Where it is served.
    enum Place: Equatable {
      case tcp(String)
      case path(String)
    }

    /// - Throws: `ManagementError` for what is no address, or one that others could reach without a password.
    func place() throws -> Place {
      guard let address, !address.isEmpty else { return .tcp(passwordFile != nil ? "0.0.0.0" : "127.0.0.1") }
      if address.hasPrefix("/") { return .path(address) }
      var number = in_addr()
      let numeric = address == "localhost" ? "127.0.0.1" : address
      guard inet_pton(AF_INET, numeric, &number) == 1 else {
        throw ManagementError(
          "\"\(address)\" is no address for the screen",
          remedy: "give an IPv4 address of this host, or the absolute path of a Unix socket, with --vrde-address")
      }
      if passwordFile == nil && !NetworkAddress.isLoopback(numeric) {
        throw ManagementError(
          "the screen would be served on \(address) without a password",
          remedy: "set one with --vrde-password-file, or use --vrde-address 127.0.0.1")
      }
      return .tcp(numeric)
    }
  }
}

extension VMDefinition.RemoteScreen {
  static let settings: [SettingDescription<Self>] = [
    named(
      "enabled", .flag("vrde", \.enabled, about("Remote screen", "Whether the screen is served by VNC", fact: "vrde"))),
    named(
      "port",
      .number(
        "vrde-port", \.port, .number(0...65535),
        about("Remote screen port", "The port it is served on; 0: a free one.", fact: "vrdeport", aliases: ["vrdeport"])
      )),
    named(
      "address",
      .text(
        "vrde-address", \.address,
        about(
          "Remote screen address",
          "The address it is served on, or the path of a Unix socket. Without a password: loopback only.",
          fact: "vrdeaddress", aliases: ["vrdeaddress"]))),
    named(
      "password-file",
      .file(
        "vrde-password-file", \.passwordFile, none: "",
        about(
          "Remote screen password file", "A file with the password in its first line, of which eight characters count.",
          fact: "vrdepasswordfile"))),
    named(
      "web",
      .flag(
        "vrde-web", \.web,
        about("Remote screen in browsers", "Whether browsers get noVNC at the same port", fact: "vrdeweb"))),
  ]

  private static func about(
    _ label: String, _ help: String, fact: String, aliases: [String] = []
  ) -> SettingDescription<Self>.About {
    .init(label, help, fact: fact, aliases: aliases, group: .screen, notice: .none)
  }

  /// Within its own table of the file a key needs no "vrde-" in front.
  private static func named(_ key: String, _ description: SettingDescription<Self>) -> SettingDescription<Self> {
    var result = description
    result.key.name = key
    return result
  }
}
