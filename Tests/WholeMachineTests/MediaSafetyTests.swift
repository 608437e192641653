import Foundation
import Testing

/// No disk is written by a guest that takes it for something else: not by one that was saved, not when it is no raw image.
@Suite struct MediaSafetyTests {
  // MARK: Disks that have changed under a saved state

  private func savedBox() throws -> (host: TestHost, disk: String) {
    let host = try TestHost()
    try host.create("box", memory: 32, ["--firmware", Guests.bareMetal("walker-dma32.rom"), "--debug-ports", "on"])
    let disk = try host.makeDisk("disk.img", megabytes: 8)
    try host.attach("box", port: 0, disk)
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box", atLeast: 2)
    try host.vmctl("controlvm", "box", "savestate")
    return (host, disk)
  }

  private func overwrite(_ path: String, at offset: UInt64, _ bytes: [UInt8]) throws {
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try file.seek(toOffset: offset)
    try file.write(contentsOf: bytes)
    try file.close()
  }

  private func goesOn(_ host: TestHost, _ options: String...) throws {
    let last = host.heartbeats("box").last ?? 0
    let outcome = try host.attempt(["startvm", "box"] + options)
    #expect(outcome.status == 0, "\(outcome.errors)")
    try host.waitForHeartbeat("box", atLeast: last + 2)
    #expect(!host.log("box").contains("FAIL"))
  }

  @Test("a saved state goes on with its disk untouched")
  func untouched() throws {
    let (host, _) = try savedBox()
    try goesOn(host)
  }

  @Test("a saved state whose disk was written since is refused and kept; --force goes on and says what it risks")
  func written() throws {
    let (host, disk) = try savedBox()
    let state = host.home + "/machines/box/saved.state"
    let before = try Data(contentsOf: URL(fileURLWithPath: state))
    try overwrite(disk, at: 7_000_000, [1])
    for _ in 0..<2 {
      try host.refused(
        "startvm", "box", saying: [disk, "was modified at", "is kept", "discardstate box", "--force", "destroy"])
      #expect(try host.state("box") == "saved")
      #expect(try Data(contentsOf: URL(fileURLWithPath: state)) == before)
    }
    try host.vmctl("startvm", "box", "--force")
    #expect(try host.state("box") == "running")
    #expect(host.log("box").contains("forced: the disk \(disk)"))
  }

  @Test("a disk whose bytes are others though its times are not is found by its samples")
  func sameTimes() throws {
    let (host, disk) = try savedBox()
    var status = stat()
    #expect(stat(disk, &status) == 0)
    // The walker writes its disk from the start.
    var first = try Data(contentsOf: URL(fileURLWithPath: disk))[1000]
    first ^= 1
    try overwrite(disk, at: 1000, [first])
    #expect(utimensat(AT_FDCWD, disk, [status.st_atim, status.st_mtim], 0) == 0)
    try host.refused("startvm", "box", saying: [disk, "byte 0", "is kept"])
    #expect(try host.state("box") == "saved")
  }

  @Test("a disk that moves with its times, and a home that moves, go on")
  func moved() throws {
    let (host, disk) = try savedBox()
    let place = host.folder + "/elsewhere.img"
    let copy = try Child(
      "cp", ["-a", disk, place], environment: host.environment, streams: .files(folder: host.folder, input: nil))
    #expect(try copy.wait() == 0)
    try FileManager.default.removeItem(atPath: disk)
    try host.refused("startvm", "box", saying: [disk])
    #expect(try host.state("box") == "saved")
    try host.attach("box", port: 0, place)
    try goesOn(host)
    // A copy of today is not known to be one of what the guest has left.
    try host.vmctl("controlvm", "box", "savestate")
    usleep(20_000)
    try FileManager.default.copyItem(atPath: place, toPath: disk)
    #expect(utimensat(AT_FDCWD, disk, nil, 0) == 0)
    try host.attach("box", port: 0, disk)
    try host.refused("startvm", "box", saying: [disk, "was modified at", "is kept"])
    try host.attach("box", port: 0, place)
    try goesOn(host)
  }

  // MARK: Images that are not raw

  @Test(
    "a qcow2 image is refused as a disk when it is attached and when it has come to be one, unless --format raw insists"
  )
  func foreignFormat() throws {
    let host = try TestHost()
    try host.create("box", memory: 32, ["--firmware", Guests.bareMetal("walker-dma32.rom"), "--debug-ports", "on"])
    let image = host.folder + "/disk.cow"
    try host.vmctl("createmedium", "disk", "--filename", image, "--size", "8", "--format", "qcow2")
    #expect(truncate(image, 8 << 20) == 0)
    let header = try Data(contentsOf: URL(fileURLWithPath: image))
    try host.vmctl("storagectl", "box", "--name", "IDE", "--add", "ide")
    let place = ["storageattach", "box", "--storagectl", "IDE", "--port", "0", "--type", "hdd", "--medium"]
    for type in [["--mtype", "normal"], ["--mtype", "readonly"]] {
      let outcome = try host.attempt(place + [image] + type)
      #expect(outcome.status == 1)
      for text in ["qcow2", "--medium \(image) --format qcow2", "--format raw"] {
        #expect(outcome.errors.contains(text), "\(outcome.errors)")
      }
    }
    #expect(try host.vmctl("showmediuminfo", image).contains("Format: qcow2"))
    let disk = try host.makeDisk("disk.img", megabytes: 8)
    try host.attach("box", port: 0, disk)
    try header.write(to: URL(fileURLWithPath: disk))
    try host.refused("startvm", "box", saying: [disk, "qcow2", "--format raw"])
    #expect(try Data(contentsOf: URL(fileURLWithPath: disk)) == header)
    #expect(try host.attempt(place + [image, "--format", "raw"]).status == 0)
    try host.vmctl("startvm", "box")
    try host.waitForHeartbeat("box")
  }

  // MARK: CDs and the clock

  private func savedWatcher() throws -> (host: TestHost, disc: String) {
    let host = try TestHost()
    try host.create("box", memory: 32, ["--firmware", Guests.bareMetal("watch32.rom"), "--debug-ports", "on"])
    let disc = try host.write("a.iso", Array("disc-a..".utf8) + Array(repeating: 0, count: 40_000))
    try host.attach("box", port: 1, type: "dvddrive", disc)
    try host.vmctl("startvm", "box")
    try host.waitForLog("box", "disc disc-a..")
    try host.vmctl("controlvm", "box", "savestate")
    return (host, disc)
  }

  @Test("a machine saved with a CD that is gone starts with an empty drive, and its guest knows")
  func discGone() throws {
    let (host, disc) = try savedWatcher()
    try FileManager.default.removeItem(atPath: disc)
    let outcome = try host.attempt(["startvm", "box"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains(disc) && outcome.output.contains("empty"))
    try host.waitForLog("box", "disc none")
  }

  @Test("a saved machine takes emptydrive, and another CD, which its guest is told of")
  func discExchanged() throws {
    let (host, disc) = try savedWatcher()
    try FileManager.default.removeItem(atPath: disc)
    try host.attach("box", port: 1, type: "dvddrive", "emptydrive")
    try host.vmctl("startvm", "box")
    try host.waitForLog("box", "disc none")
    try host.vmctl("controlvm", "box", "savestate")
    let other = try host.write("b.iso", Array("disc-b..".utf8) + Array(repeating: 0, count: 40_000))
    try host.attach("box", port: 1, type: "dvddrive", other)
    try host.vmctl("startvm", "box")
    try host.waitForLog("box", "disc changed")
    try host.waitForLog("box", "disc disc-b..")
    // The same disc is no change.
    try host.vmctl("controlvm", "box", "savestate")
    try host.vmctl("startvm", "box")
    try host.waitForLog("box", "clock ")
    try poll("two seconds of the clock") {
      host.log("box").components(separatedBy: "clock ").count > 3 ? () : nil
    }
    #expect(!host.log("box").contains("disc changed"))
    // Drives and kinds stay.
    try host.refused(
      "storageattach", "box", "--storagectl", "IDE", "--port", "1", "--medium", "none", saying: ["running"])
    try host.vmctl("controlvm", "box", "savestate")
    try host.refused(
      "storageattach", "box", "--storagectl", "IDE", "--port", "1", "--medium", "none", saying: ["saved state"])
  }

  @Test("the disc of a running machine is changed, taken out, and is the same after savestate")
  func discChangedWhileRunning() throws {
    let (host, _) = try savedWatcher()
    try host.vmctl("startvm", "box")
    let other = try host.write("b.iso", Array("disc-b..".utf8) + Array(repeating: 0, count: 40_000))
    let place = ["storageattach", "box", "--storagectl", "IDE", "--port", "1", "--type", "dvddrive", "--medium"]
    #expect(try host.attempt(place + [other]).status == 0)
    try host.waitForLog("box", "disc disc-b..")
    #expect(try host.vmctl("showvminfo", "box").contains(other))
    try host.vmctl("controlvm", "box", "savestate")
    try host.vmctl("startvm", "box")
    // Its guest says nothing of a disc that is the same.
    try host.waitForLog("box", "clock ")
    #expect(!host.log("box").contains("disc "))
    try host.refused(arguments: place + [host.folder + "/none.iso"], saying: ["none.iso"])
    #expect(try host.attempt(place + ["emptydrive"]).status == 0)
    try host.waitForLog("box", "disc none")
    // The drive itself stays where it is.
    try host.refused(
      "storageattach", "box", "--storagectl", "IDE", "--port", "1", "--medium", "none", saying: ["running"])
    try host.refused(
      "storageattach", "box", "--storagectl", "IDE", "--port", "0", "--type", "dvddrive", "--medium", other,
      saying: ["running"])
  }

  @Test("after a restore the RTC shows the true time", arguments: ["on", "off"])
  func clock(_ utc: String) throws {
    let (host, _) = try savedWatcher()
    try host.vmctl("discardstate", "box")
    try host.modify("box", ["--rtc-use-utc", utc])
    let zone = utc == "on" ? 0 : 3 * 3600
    func start() throws {
      let child = try host.begin(["startvm", "box"], environment: ["TZ": "UTC-3"])
      #expect(try child.wait() == 0, "\(child.errors)")
    }
    try start()
    try host.waitForLog("box", "clock ")
    try host.vmctl("controlvm", "box", "savestate")
    Thread.sleep(forTimeInterval: 4)
    let before = Int(time(nil)) + zone
    try start()
    // Guest time stands still until the machine runs again, so that a clock that had stood still as well would show the
    // time of before in its first lines, however late they come. One of them may have been read across a change of its second.
    let lines: [String] = try poll("two seconds of the clock") {
      let lines = host.log("box").components(separatedBy: "clock ").dropFirst().map { String($0.prefix(12)) }
      return lines.count > 2 ? Array(lines.prefix(2)) : nil
    }
    let after = Int(time(nil)) + zone
    #expect(
      lines.compactMap(Self.seconds).contains { $0 >= before - 1 && $0 <= after + 1 },
      "\(lines), from \(before) to \(after)")
  }

  /// Since 1970, of `YYMMDDHHMMSS`.
  private static func seconds(_ text: String) -> Int? {
    let fields = stride(from: 0, to: 12, by: 2).compactMap { Int32(text.dropFirst($0).prefix(2)) }
    guard text.count == 12, fields.count == 6 else { return nil }
    var date = tm()
    date.tm_year = 100 + fields[0]
    date.tm_mon = fields[1] - 1
    date.tm_mday = fields[2]
    date.tm_hour = fields[3]
    date.tm_min = fields[4]
    date.tm_sec = fields[5]
    return Int(timegm(&date))
  }

  // MARK: Disks that the host cannot write

  /// A boot sector that writes 127 sectors behind itself and says through the exit port how that went, on a full file system.
  @Test(
    "a write that the host cannot do fails in the guest, and is told in the log and to the operator's script",
    .enabled(if: geteuid() == 0, "needs root, for a small file system"))
  func full() throws {
    let host = try TestHost()
    let code: [UInt8] = [
      0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xC0,  // xor ax, ax; mov ds, ax; mov es, ax
      0xB8, 0x7F, 0x03, 0xBB, 0x00, 0x7C,  // mov ax, 0x37F; mov bx, 0x7C00
      0xB9, 0x02, 0x00, 0xBA, 0x80, 0x00,  // mov cx, 2; mov dx, 0x80
      0xCD, 0x13, 0x0F, 0x92, 0xC0,  // int 0x13; setc al
      0x04, 0x41, 0xE6, 0xE9, 0xB0, 0x0A, 0xE6, 0xE9,  // add al, 'A'; out 0xE9, al; mov al, 10; out 0xE9, al
      0xF4, 0xEB, 0xFD,  // hlt; jmp
    ]
    var image = code + [UInt8](repeating: 0, count: 512 - code.count)
    image.replaceSubrange(510..<512, with: [0x55, 0xAA])
    let sector = try host.write("sector", image)
    let folder = host.folder + "/small"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    let script = """
      set -e
      mount -t tmpfs -o size=32k tmpfs \(folder)
      cp \(sector) \(folder)/disk.img
      truncate -s 1M \(folder)/disk.img
      V=\(TestHost.vmctl)
      $V createvm --name box --memory 16
      $V modifyvm box --debug-ports on --boot1 disk
      $V storagectl box --name IDE --add ide
      $V storageattach box --storagectl IDE --port 0 --device 0 --type hdd --medium \(folder)/disk.img
      $V startvm box
      """
    let start = try Child(
      "unshare", ["-m", "sh", "-c", script], environment: host.environment,
      streams: .files(folder: host.folder, input: nil))
    #expect(try start.wait() == 0, "\(start.errors)")
    let error = "error disk error: no space left on the host's disk for \(folder)/disk.img"
    try poll("the log's line") { host.log("box").contains(error) ? () : nil }
    // The guest was told, and the machine runs on.
    try poll("the guest's word") { host.log("box").contains(" B\n") ? () : nil }
    #expect(try host.state("box") == "running")
    #expect(host.log("box").components(separatedBy: "disk error").count == 2, "once a minute")
    try host.vmctl("controlvm", "box", "poweroff")
  }
}
