import Foundation
import Testing

/// A target whose path leads to another file than the source's never gets the machine, and its file stays as it is.
@Suite struct TeleportOtherDiskTests {
  private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }

  private func hosts() throws -> TwoHosts {
    let hosts = try TwoHosts(guest: "walker-dma32", disk: 4)
    try hosts.start(hosts.a)
    try hosts.expectAlive(hosts.a)
    return hosts
  }

  @Test("a copy at another path, of equal bytes, is refused with both inode numbers, and the source runs on")
  func copy() throws {
    let hosts = try hosts()
    try hosts.a.vmctl("controlvm", "box", "pause")
    let (image, copy) = (hosts.shared + "/shared.img", hosts.shared + "/copy.img")
    try FileManager.default.copyItem(atPath: image, toPath: copy)
    let before = try bytes(copy)
    #expect(try before == bytes(image))
    try hosts.b.attach("box", port: 0, copy)
    let port = try hosts.await(hosts.b)
    try hosts.a.vmctl("controlvm", "box", "resume")
    func inode(_ path: String) -> UInt64 {
      var status = stat()
      stat(path, &status)
      return UInt64(status.st_ino)
    }
    try hosts.expectKept(
      try hosts.send(hosts.a, to: port), on: hosts.a,
      saying: ["another file", "inode \(inode(copy)) instead of \(inode(image))", "storageattach box", image])
    #expect(try hosts.b.state("box") == "teleportingin")
    #expect(try bytes(copy) == before)
    // What the error proposes helps.
    try hosts.b.vmctl("controlvm", "box", "poweroff")
    try hosts.b.attach("box", port: 0, image)
    try hosts.hop(hosts.a, hosts.b)
    try hosts.expectRunsOnly(hosts.b)
  }

  @Test("another path to the same file is the same disk")
  func hardLink() throws {
    let hosts = try hosts()
    let link = hosts.shared + "/link.img"
    try FileManager.default.linkItem(atPath: hosts.shared + "/shared.img", toPath: link)
    try hosts.b.attach("box", port: 0, link)
    try hosts.hop(hosts.a, hosts.b)
    try hosts.expectRunsOnly(hosts.b)
    try hosts.hop(hosts.b, hosts.a)
    try hosts.expectRunsOnly(hosts.a)
  }

  @Test(
    "where another file is mounted at the same path, in the target's mount namespace, it is found to be another",
    .enabled(if: getuid() == 0, "needs root, to make a mount namespace"))
  func mountNamespace() throws {
    let hosts = try hosts()
    let (image, other) = (hosts.shared + "/shared.img", hosts.shared + "/local.img")
    try hosts.a.vmctl("controlvm", "box", "pause")
    try FileManager.default.copyItem(atPath: image, toPath: other)
    let before = try bytes(other)
    try hosts.b.modify("box", ["--teleporter", "on", "--teleporter-port", "0"])
    let child = try Child(
      "unshare",
      ["-m", "sh", "-c", "mount --bind \"$1\" \"$2\" && exec \"$0\" startvm box", TestHost.vmctl, other, image],
      environment: hosts.b.environment, streams: .files(folder: hosts.b.folder, input: nil))
    #expect(try child.wait() == 0, "\(child.errors)")
    try hosts.a.vmctl("controlvm", "box", "resume")
    try hosts.expectKept(
      try hosts.send(hosts.a, to: try hosts.port(hosts.b)), on: hosts.a,
      saying: ["another file", image, "mount the storage"])
    #expect(try hosts.b.state("box") == "teleportingin")
    #expect(try bytes(other) == before)
  }

  @Test("a CD may be a copy of equal bytes, and is refused when they differ")
  func disc() throws {
    let hosts = try hosts()
    let disc = try hosts.a.write("cd.iso", Array(repeating: 0x41, count: 300_000))
    let copy = try hosts.b.write("cd.iso", Array(repeating: 0x41, count: 300_000))
    try hosts.a.vmctl("controlvm", "box", "poweroff")
    try hosts.a.attach("box", port: 1, type: "dvddrive", disc)
    try hosts.b.attach("box", port: 1, type: "dvddrive", copy)
    try hosts.start(hosts.a)
    try hosts.hop(hosts.a, hosts.b)
    try hosts.expectRunsOnly(hosts.b)
    // Not as it was, by a byte far from both ends.
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: disc))
    try file.seek(toOffset: 70_000)
    try file.write(contentsOf: [0x42])
    try file.close()
    let port = try hosts.await(hosts.a)
    try hosts.expectKept(
      try hosts.send(hosts.b, to: port), on: hosts.b, saying: ["cd.iso", "its content is another, at byte 69632"])
  }
}
