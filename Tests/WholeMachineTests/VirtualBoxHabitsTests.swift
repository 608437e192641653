import Foundation
import Testing

/// What users of VBoxManage type by habit, and scripts written for it.
@Suite struct VirtualBoxHabitsTests {
  @Test(
    "a word that is not known is named, with what to type instead, on one line",
    arguments: [
      (["createhd", "--filename", "x", "--size", "5"], "createhd: now `createmedium disk`"),
      (["export", "a"], "export is not built yet"), (["startmv", "a"], "the nearest is \"startvm\""),
      (["help", "nosuch"], "\"nosuch\""),
      (["modifyvm", "a", "--hostonlyadapter1", "vboxnet0"], "--hostonlyadapter1 is not built yet: network cards"),
      (["controlvm", "a", "poweroof"], "the nearest is \"poweroff\""),
      (["controlvm", "a", "usbattach", "1"], "USB"), (["modifyvm", "a"], "changes nothing"),
    ])
  func unknown(_ words: [String], _ text: String) throws {
    let host = try TestHost()
    try host.create("a")
    try host.refused(arguments: words, status: 64, saying: [text])
  }

  @Test("a script written for VBoxManage runs through a link of that name")
  func script() throws {
    let host = try TestHost()
    let link = host.folder + "/VBoxManage"
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: TestHost.vmctl)
    let script = """
      set -e
      cd "$(dirname "$0")"
      ./VBoxManage -v
      ./VBoxManage createvm --name box --ostype Debian_64 --register
      ./VBoxManage modifyvm box --memory=64 --vram 16 --boot1 disk
      ./VBoxManage createmedium --filename disk.img --size 8 --format RAW --variant Standard
      ./VBoxManage storagectl box --name IDE --add ide --controller PIIX4 --hostiocache on --bootable on
      ./VBoxManage storageattach box --storagectl IDE --port 0 --device 0 --type hdd --medium disk.img
      ./VBoxManage storageattach box --storagectl IDE --port 1 --device 0 --type dvddrive --medium emptydrive
      ./VBoxManage list vms -s
      ./VBoxManage list hdds
      ./VBoxManage list ostypes
      ./VBoxManage list systemproperties
      ./VBoxManage list hostinfo -l
      ./VBoxManage startvm box --type headless
      ./VBoxManage list runningvms
      ./VBoxManage showvminfo box --details --machinereadable
      ./VBoxManage controlvm box acpipowerbutton
      ./VBoxManage controlvm box poweroff
      ./VBoxManage unregistervm box --delete
      """
    let file = try host.write("script", Array(script.utf8))
    let child = try Child(
      "bash", [file], environment: host.environment, streams: .files(folder: host.folder, input: nil))
    #expect(try child.wait() == 0, "\(child.errors)")
    for text in [
      "\"IDE-0-0\"=\"\(host.folder)/disk.img\"", "\"IDE-1-0\"=\"emptydrive\"", "\"IDE-0-1\"=\"none\"",
      "VMState=\"running\"", "memory=64", "Location: \(host.folder)/disk.img", "\"box\" {",
    ] { #expect(child.output.contains(text), "\(text) is in: \(child.output)") }
  }
}
