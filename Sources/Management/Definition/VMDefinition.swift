import Foundation
import Machine

/// All that a user has said about a VM: its name, its hardware, and how it may be teleported to this host.
public struct VMDefinition: Equatable, Sendable {
  /// By which commands know it.
  public var name: String
  /// Which machine it is, whatever it is called: teleports ask for it.
  public var uuid: UUID
  /// A text for people, which may be empty.
  public var description: String
  /// The machine that is built.
  public var hardware: MachineConfiguration
  /// How it receives itself.
  public var teleporter: Teleporter
  /// How its screen is served.
  public var screen = RemoteScreen()
  /// Whether the VM's process gives up what it does not need (`Sandbox`).
  public var sandbox = true
  /// All that its consoles say is written into its folder.
  public var recordsConsoles = false
  /// What becomes of it when its guest panics.
  public var onPanic = PanicAction.none

  /// A definition with a new identity.
  public init(name: String, uuid: UUID = UUID(), hardware: MachineConfiguration = MachineConfiguration()) {
    self.name = name
    self.uuid = uuid
    description = ""
    self.hardware = hardware
    teleporter = Teleporter()
  }

  /// How this VM receives itself from another host.
  public struct Teleporter: Equatable, Sendable {
    /// It waits for its teleport when it is started.
    public var enabled = false
    /// 0: a free one.
    public var port = 0
    /// nil: loopback when there is no password, every address when there is one.
    public var address: String?
    /// What it asks for, as text in the definition.
    public var password: String?
    /// A file whose first line is the password.
    public var passwordFile: String?
    /// What decides, as the machine's backup, whose it is (`WitnessPlace.command`); nil: no program does.
    public var witnessCommand: String?
    /// Waits for nothing.
    public init() {}

    /// The password to ask for, if any.
    /// - Throws: `ManagementError` when its file cannot be read or is empty.
    public func effectivePassword() throws -> String? {
      guard let passwordFile else { return password }
      return try PasswordFile.read(passwordFile)
    }

    /// The address to listen on. Without a password only this host may connect.
    /// - Throws: `ManagementError` when others could connect without one.
    public func listenAddress(hasPassword: Bool) throws -> String {
      guard let address, !address.isEmpty else { return hasPassword ? "0.0.0.0" : "127.0.0.1" }
      if !hasPassword && !NetworkAddress.isLoopback(address) {
        throw ManagementError(
          "the teleporter would listen on \(address) without a password",
          remedy:
            "set one with --teleporter-password or --teleporter-password-file, or use --teleporter-address 127.0.0.1")
      }
      return address
    }
  }
}

/// Passwords kept out of command lines and definitions.
public enum PasswordFile {
  /// The first line of the file, or of standard input for "stdin" and "-".
  public static func read(_ path: String) throws -> String {
    let line: String?
    if path == "stdin" || path == "-" {
      line = readLine()
    } else {
      line = try Files.read(Files.absolute(path), limit: 65536).split(whereSeparator: \.isNewline).first.map(
        String.init)
    }
    guard let line, !line.isEmpty else {
      throw ManagementError("the password file \(path) has no password in its first line")
    }
    return line
  }
}

/// Addresses as users give them.
public enum NetworkAddress {
  /// Whether only this host can reach the address.
  public static func isLoopback(_ address: String) -> Bool {
    var v4 = in_addr()
    if inet_pton(AF_INET, address, &v4) == 1 { return UInt32(bigEndian: v4.s_addr) >> 24 == 127 }
    var v6 = in6_addr()
    if inet_pton(AF_INET6, address, &v6) == 1 {
      let bytes = withUnsafeBytes(of: v6) { Array($0) }
      let mapped = bytes[..<12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] && bytes[12] == 127
      return mapped || bytes == [UInt8](repeating: 0, count: 15) + [1]
    }
    return address == "localhost"
  }
}
