import Foundation

/// Guest code as text, assembled by the toolchain's clang: in Intel syntax, statements apart by line or semicolon.
///
///     GuestCode.assemble("mov ecx, 1000; 1: dec ecx; jnz 1b", bits: 64)
public enum GuestCode {
  public struct Failure: Error, CustomStringConvertible {
    public var description: String
  }

  /// - Parameters:
  ///   - bits: 16, 32 or 64.
  ///   - origin: the address of the first byte.
  ///   - symbols: addresses elsewhere that the code jumps to or names.
  /// - Returns: the bytes; the same text is assembled once.
  /// - Throws: `Failure` with what the assembler or the linker says.
  public static func assemble(
    _ text: String, bits: Int, origin: UInt64 = 0x1000, symbols: [String: UInt64] = [:]
  ) throws -> [UInt8] {
    let source = ".intel_syntax noprefix\n.code\(bits)\n\(text)\n"
    let definitions = symbols.sorted { $0.key < $1.key }.map { "--defsym=\($0.key)=\($0.value)" }
    let key = "\(origin) \(definitions) \(source)"
    if let known = lock.withLock({ cache[key] }) { return known }

    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-code-" + UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let (input, object) = (folder.path + "/code.s", folder.path + "/code.o")
    let output = folder.path + "/code"
    try source.write(toFile: input, atomically: false, encoding: .utf8)
    let target = bits == 64 ? "x86_64" : "i386"
    try run("clang", ["--target=\(target)-unknown-none-elf", "-c", input, "-o", object])
    let place = ["-Ttext=0x" + String(origin, radix: 16), "--image-base=0", "--oformat=binary", "-e", "0"]
    try run("ld.lld", ["-m", bits == 64 ? "elf_x86_64" : "elf_i386"] + place + definitions + [object, "-o", output])
    let code = [UInt8](try Data(contentsOf: URL(fileURLWithPath: output)))
    lock.withLock { cache[key] = code }
    return code
  }

  private static let lock = NSLock()
  nonisolated(unsafe) private static var cache: [String: [UInt8]] = [:]

  /// The toolchain's programs lie beside its swift.
  private static func run(_ program: String, _ arguments: [String]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    let find =
      "t=$(dirname \"$(readlink -f \"$(command -v swift || echo /usr/bin/clang)\")\"); PATH=$t:$PATH exec \"$@\""
    process.arguments = ["-c", find, "sh", program] + arguments
    let errors = Pipe()
    process.standardError = errors
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let said = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw Failure(description: "\(program): \(String(decoding: said, as: UTF8.self))")
    }
  }
}
