import Foundation
import SavedState

/// A file whose content the guest sees: firmware, kernel, initial RAM disk.
struct GuestFile {
  var name: String
  /// The setting that names it; empty where none does.
  var setting: String
  var path: String?
  var bytes: [UInt8]

  private let digest = DigestOnce()

  var blob: HardwareDescription.Blob {
    HardwareDescription.Blob(
      name: name, setting: setting, path: path, size: bytes.count, digest: digest.of(bytes),
      text: path == nil && setting == "append" ? String(decoding: bytes, as: UTF8.self) : nil)
  }

  /// Reads a whole file.
  /// - Throws: `MachineError` that names the file and the setting that chose it.
  init(name: String, setting: String, path: String) throws(MachineError) {
    self.name = name
    self.setting = setting
    self.path = path
    do {
      bytes = try StateFile.contents(of: path, limit: 1 << 30)
    } catch {
      throw .fileUnreadable(
        setting: setting, what: name, path: path, exists: FileManager.default.fileExists(atPath: path))
    }
  }

  init(name: String, setting: String, bytes: [UInt8]) {
    self.name = name
    self.setting = setting
    self.bytes = bytes
  }
}

/// A file's digest, computed when it is first wanted: the file may be large.
private final class DigestOnce: @unchecked Sendable {
  private let lock = NSLock()
  private var known: String?

  func of(_ bytes: [UInt8]) -> String {
    lock.withLock {
      if let known { return known }
      let value = SHA256.hex(bytes)
      known = value
      return value
    }
  }
}

/// Where Debian's `seabios` package puts its images, and ROM images of the user's.
enum FirmwareImages {
  static let folders = ["/usr/share/seabios", "/usr/local/share/seabios", "/usr/share/qemu"]

  /// The system BIOS: the user's file or the distribution's SeaBIOS.
  static func systemBIOS(_ path: String?) throws(MachineError) -> GuestFile {
    if let path {
      let file = try GuestFile(name: "firmware", setting: "firmware", path: path)
      let size = file.bytes.count
      guard (64 << 10...16 << 20).contains(size), size % 4096 == 0 else {
        throw .firmwareSize(path: path, bytes: size)
      }
      return file
    }
    return try distribution("bios-256k.bin", name: "SeaBIOS")
  }

  static func vgaBIOS() throws(MachineError) -> GuestFile { try distribution("vgabios-stdvga.bin", name: "VGA BIOS") }

  /// The boot ROM of a network card, of Debian's `ipxe-qemu` package.
  /// - Parameter file: "pxe-e1000.rom".
  static func bootROM(ofCard file: String) throws(MachineError) -> GuestFile {
    let path = "\(cardFolder)/\(file)"
    guard FileManager.default.fileExists(atPath: path) else {
      throw .bootROMNotInstalled(file: file, folder: cardFolder)
    }
    return try GuestFile(name: "boot ROM \(file)", setting: "", path: path)
  }

  static let cardFolder = "/usr/lib/ipxe/qemu"

  private static func distribution(_ file: String, name: String) throws(MachineError) -> GuestFile {
    for folder in folders {
      let path = "\(folder)/\(file)"
      if FileManager.default.fileExists(atPath: path) { return try GuestFile(name: name, setting: "", path: path) }
    }
    throw .firmwareNotInstalled(what: name, file: file, folder: folders[0])
  }
}

/// Page-aligned memory for ROM contents, alive as long as this object.
final class ROMImage {
  let bytes: UnsafeMutableRawPointer
  let count: Int

  init(_ content: [UInt8]) {
    count = (content.count + 4095) & ~4095
    bytes = .allocate(byteCount: count, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0xFF, count: count)
    content.withUnsafeBytes { bytes.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
  }

  deinit { bytes.deallocate() }
}
