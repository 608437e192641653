/// Formats of disk images that are not raw, known by what they begin or end with.
///
/// A raw disk is whatever its bytes are, so one of these taken as raw would show the guest the container instead of the disk
/// in it, and the guest's first write would destroy it.
public enum ForeignFormat: String, CaseIterable, Sendable {
  case qcow, qcow2, qed, vmdk, vdi, vhd, vhdx, parallels, dmg, bochs
  case gzip, bzip2, xz, zstd

  /// The text that users know it by.
  public var name: String {
    switch self {
    case .qcow: "qcow (version 1)"
    case .vhd: "VHD"
    case .vmdk, .vdi, .vhdx, .qed, .dmg: rawValue.uppercased()
    case .parallels: "Parallels"
    case .bochs: "Bochs growing"
    case .qcow2, .gzip, .bzip2, .xz, .zstd: rawValue
    }
  }

  /// Bytes at the beginning that are looked at.
  public static let headBytes = 128
  /// Bytes at the end that are looked at.
  public static let tailBytes = 512

  /// The format that an image is in, or nil for one that may be raw.
  ///
  /// Magic numbers: QEMU, docs/interop/qcow2.txt and qed_spec.txt; VMware, "Virtual Disk Format 5.0" (sparse extents "KDMV",
  /// older "COWD", descriptor files); VirtualBox, VDICore.h (signature at 0x40); Microsoft, "Virtual Hard Disk Image
  /// Format Specification" (the footer "conectix", which a dynamic disk begins with as well) and [MS-VHDX] 2.2.1; Apple's "koly"
  /// trailer; RFC 1952, RFC 8878 and the XZ file format for compressed files.
  /// - Parameters:
  ///   - head: the first `headBytes` of the file, or all of a shorter one.
  ///   - tail: its last `tailBytes`, or all of a shorter one.
  public static func recognize(head: [UInt8], tail: [UInt8]) -> ForeignFormat? {
    func begins(_ text: String) -> Bool { head.starts(with: Array(text.utf8)) }
    func begins(_ bytes: [UInt8]) -> Bool { head.starts(with: bytes) }
    if begins([0x51, 0x46, 0x49, 0xFB]) {
      return head.count >= 8 && head[4..<8].elementsEqual([0, 0, 0, 1]) ? .qcow : .qcow2
    }
    if begins("QED\0") { return .qed }
    if begins("KDMV") || begins("COWD") || begins("# Disk DescriptorFile") { return .vmdk }
    if head.count >= 0x44, head[0x40..<0x44].elementsEqual([0x7F, 0x10, 0xDA, 0xBE]) { return .vdi }
    if begins("vhdxfile") { return .vhdx }
    if begins("conectix") || isFooter(tail, "conectix") { return .vhd }
    if begins("WithoutFreeSpace") || begins("WithouFreSpacExt") { return .parallels }
    if begins("Bochs Virtual HD Image") { return .bochs }
    if isFooter(tail, "koly") { return .dmg }
    if begins([0x1F, 0x8B, 0x08]) { return .gzip }
    if begins([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]) { return .xz }
    if begins([0x28, 0xB5, 0x2F, 0xFD]) { return .zstd }
    if begins("BZh"), head.count > 9, (0x31...0x39).contains(head[3]),
      head[4..<10].elementsEqual([0x31, 0x41, 0x59, 0x26, 0x53, 0x59])
    {
      return .bzip2
    }
    return nil
  }

  /// A VHD's footer has 512 bytes, 511 in files of Virtual PC before 2004.
  private static func isFooter(_ tail: [UInt8], _ text: String) -> Bool {
    guard tail.count >= tailBytes else { return false }
    let end = Array(tail.suffix(tailBytes))
    return end.starts(with: Array(text.utf8)) || end.dropFirst().starts(with: Array(text.utf8))
  }

  /// The command that makes a raw image of `path`.
  public func conversion(of path: String) -> String {
    let from = ShellWord.quote(path)
    let plain = path.hasSuffix("." + fileExtension) ? String(path.dropLast(fileExtension.count + 1)) : path
    let to = ShellWord.quote(isCompressed && plain != path ? plain : plain + ".img")
    switch self {
    case .gzip: return "gzip -dc \(from) > \(to)"
    case .bzip2: return "bzip2 -dc \(from) > \(to)"
    case .xz: return "xz -dc \(from) > \(to)"
    case .zstd: return "zstd -dc \(from) > \(to)"
    default: return "qemu-img convert -f \(converterName) -O raw \(from) \(to)"
    }
  }

  private var isCompressed: Bool {
    switch self {
    case .gzip, .bzip2, .xz, .zstd: true
    default: false
    }
  }

  /// As qemu-img calls it.
  private var converterName: String { self == .vhd ? "vpc" : rawValue }

  private var fileExtension: String {
    switch self {
    case .gzip: "gz"
    case .bzip2: "bz2"
    case .zstd: "zst"
    default: rawValue
    }
  }
}
